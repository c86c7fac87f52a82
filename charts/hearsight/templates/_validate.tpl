{{/*
What values contradict each other, said in words before anything reaches the cluster. What one value
may be stands in values.schema.json.
*/}}
{{- define "hearsight.validate" -}}
{{- if .Values.postgresql.bundled.enabled }}
{{- if or .Values.database.url .Values.database.existingSecret }}
{{- fail "postgresql.bundled.enabled excludes database.url and database.existingSecret: choose one database" }}
{{- end }}
{{- else if and .Values.database.url .Values.database.existingSecret }}
{{- fail "database.url and database.existingSecret are both set: choose one" }}
{{- end }}

{{- if .Values.valkey.bundled.enabled }}
{{- if or .Values.redis.brokerUrl .Values.redis.existingSecret }}
{{- fail "valkey.bundled.enabled excludes redis.brokerUrl and redis.existingSecret: choose one Redis" }}
{{- end }}
{{- else if and .Values.redis.brokerUrl .Values.redis.existingSecret }}
{{- fail "redis.brokerUrl and redis.existingSecret are both set: choose one" }}
{{- else if ne (empty .Values.redis.brokerUrl) (empty .Values.redis.redisUrl) }}
{{- fail "redis.brokerUrl and redis.redisUrl belong together: set both" }}
{{- end }}

{{- if .Values.storage.volume.enabled }}
{{- if or .Values.storage.url .Values.storage.existingSecret .Values.storage.accessKeyId }}
{{- fail "storage.volume.enabled excludes storage.url, storage.existingSecret and storage.accessKeyId: choose one store" }}
{{- end }}
{{- else }}
{{- if and .Values.storage.existingSecret .Values.storage.accessKeyId }}
{{- fail "storage.existingSecret and storage.accessKeyId are both set: choose one" }}
{{- end }}
{{- if ne (empty .Values.storage.accessKeyId) (empty .Values.storage.secretAccessKey) }}
{{- fail "storage.accessKeyId and storage.secretAccessKey belong together: set both" }}
{{- end }}
{{- if and .Values.storage.accessKeyId (not .Values.storage.url) }}
{{- fail "storage.accessKeyId needs storage.url, such as s3://bucket/prefix" }}
{{- end }}
{{- if hasPrefix "file:" .Values.storage.url }}
{{- fail "storage.url can't be a folder of a pod: for a shared volume set storage.volume.enabled" }}
{{- end }}
{{- end }}

{{- if and .Values.migrations.useHelmHooks (or .Values.postgresql.bundled.enabled .Values.database.url) }}
{{- fail "migrations.useHelmHooks needs a database that is there before the chart, with its address in database.existingSecret: a hook runs before the chart's own Secrets and servers exist" }}
{{- end }}

{{- with .Values.auth }}
{{- if and .existingSecret .apiKey }}
{{- fail "auth.existingSecret and auth.apiKey are both set: choose one" }}
{{- end }}
{{- end }}
{{- with include "hearsight.auth.mode" . }}
{{- if and (eq . "on") $.Values.migrations.useHelmHooks (not $.Values.auth.existingSecret) }}
{{- fail "migrations.useHelmHooks needs the first API key in auth.existingSecret: a hook runs before the chart's own Secrets exist" }}
{{- end }}
{{- if and (eq . "loopback") (or $.Values.ingress.enabled $.Values.httpRoute.enabled (ne $.Values.api.service.type "ClusterIP")) }}
{{- fail "auth.mode loopback lets in whoever reaches the API, so kubectl port-forward has to be the only way to it: switch ingress and httpRoute off, and leave api.service.type at ClusterIP" }}
{{- end }}
{{- end }}

{{- if and (eq .Values.autoscaling.engine "keda") .Values.database.url }}
{{- fail "autoscaling.engine keda reads the queues with a role of its own: give database.existingSecret, with the keys of database.readerUrlKey and database.readerPasswordKey, in place of database.url" }}
{{- end }}

{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- fail "httpRoute.parentRefs has to name the Gateway that the route belongs to" }}
{{- end }}

{{- $names := list "default" }}
{{- range .Values.asrPools }}
{{- if has .name $names }}
{{- fail (printf "asrPools: the name %q is taken; the pool of asrWorker is called default" .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- range (include "hearsight.asr.pools" . | fromYaml).pools }}
{{- include "hearsight.validate.pool" . }}
{{- end }}
{{- end }}

{{/*
Takes a pool: pool, name, values.
*/}}
{{- define "hearsight.validate.pool" -}}
{{- if gt (len .name) 63 }}
{{- fail (printf "asrPools, %s: %s is longer than the 63 characters a name may have; shorten the pool's or the release's" .pool .name) }}
{{- end }}
{{- $where := eq .pool "default" | ternary "asrWorker" (printf "asrPools, %s" .pool) }}
{{- with .values }}
{{- if eq .model.source "mounted" }}
{{- if not (or .model.existingClaim .model.volume) }}
{{- fail (printf "%s: a mounted model needs model.existingClaim or model.volume" $where) }}
{{- end }}
{{- else if .model.path }}
{{- fail (printf "%s: model.path is for mounted models; set model.source to mounted" $where) }}
{{- end }}
{{- if and (eq .model.source "fetched") (not .model.name) }}
{{- fail (printf "%s: a fetched model needs model.name, such as large-v3-turbo" $where) }}
{{- end }}
{{- if and .model.existingClaim .model.volume }}
{{- fail (printf "%s: model.existingClaim and model.volume are both set: choose one" $where) }}
{{- end }}
{{- if and (eq .device "cuda") (eq (include "hearsight.asr.flavour" .) "cpu") }}
{{- fail (printf "%s: device cuda needs the image with CUDA: set gpu.enabled, or flavour to cuda" $where) }}
{{- end }}
{{- if and (dig "rollingUpdate" "maxSurge" 0 .strategy | toString | ne "0") .gpu.enabled }}
{{- fail (printf "%s: strategy.rollingUpdate.maxSurge has to be 0 with GPUs: a full pool has none for one more pod, and could never roll" $where) }}
{{- end }}
{{- end }}
{{- end }}
