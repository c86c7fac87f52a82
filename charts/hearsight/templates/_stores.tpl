{{/*
Where the addresses of PostgreSQL, Redis and the object store come from: a Secret of the person's,
one that the chart makes from values, or that of a bundled store. Each answers with a Secret's name.
*/}}
{{- define "hearsight.database.secret" -}}
{{- if .Values.postgresql.bundled.enabled }}
{{- .Values.postgresql.bundled.existingSecret | default (printf "%s-postgresql" (include "hearsight.fullname" .)) }}
{{- else if .Values.database.url }}
{{- printf "%s-database" (include "hearsight.fullname" .) }}
{{- else }}
{{- .Values.database.existingSecret | default "hearsight-database" }}
{{- end }}
{{- end }}

{{- define "hearsight.database.urlKey" -}}
{{- if or .Values.postgresql.bundled.enabled .Values.database.url }}url{{ else }}{{ .Values.database.secretKey }}{{ end }}
{{- end }}

{{- define "hearsight.redis.secret" -}}
{{- if .Values.valkey.bundled.enabled }}
{{- .Values.valkey.bundled.existingSecret | default (printf "%s-valkey" (include "hearsight.fullname" .)) }}
{{- else if .Values.redis.brokerUrl }}
{{- printf "%s-redis" (include "hearsight.fullname" .) }}
{{- else }}
{{- .Values.redis.existingSecret | default "hearsight-redis" }}
{{- end }}
{{- end }}

{{/*
Which key of that Secret holds an address. Takes a list: root, the key where the chart made the
Secret, the person's key.
*/}}
{{- define "hearsight.redis.key" -}}
{{- with index . 0 }}
{{- if or .Values.valkey.bundled.enabled .Values.redis.brokerUrl }}{{ index $ 1 }}{{ else }}{{ index $ 2 }}{{ end }}
{{- end }}
{{- end }}

{{/*
The Secret with the object store's keys; empty: there is none, credentials come from the
surroundings (a role, a volume).
*/}}
{{- define "hearsight.storage.secret" -}}
{{- if .Values.storage.volume.enabled }}
{{- else if .Values.storage.existingSecret }}
{{- .Values.storage.existingSecret }}
{{- else if .Values.storage.accessKeyId }}
{{- printf "%s-storage" (include "hearsight.fullname" .) }}
{{- else if not .Values.storage.url }}
{{- "hearsight-storage" }}
{{- end }}
{{- end }}

{{/*
The folder of the shared volume, for a media store without S3.
*/}}
{{- define "hearsight.storage.folder" -}}
/var/lib/hearsight/media
{{- end }}

{{- define "hearsight.storage.claim" -}}
{{- .Values.storage.volume.existingClaim | default (printf "%s-media" (include "hearsight.fullname" .)) }}
{{- end }}

{{/*
A password that stays what it is: the one given, else the one in the cluster, else a new one.
Takes a dict: root, secret, key, given, and where 32 letters and digits won't do fresh, the new one.
*/}}
{{- define "hearsight.password" -}}
{{- $found := lookup "v1" "Secret" .root.Release.Namespace .secret | default dict }}
{{- $kept := dig "data" .key "" $found }}
{{- if .given }}{{ .given }}{{ else if $kept }}{{ b64dec $kept }}{{ else }}{{ .fresh | default (randAlphaNum 32) }}{{ end }}
{{- end }}

{{/*
Environment variables with the database's address; all that migrations need.
*/}}
{{- define "hearsight.databaseEnv" -}}
- name: HEARSIGHT_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ include "hearsight.database.secret" . }}
      key: {{ include "hearsight.database.urlKey" . }}
{{- end }}

{{/*
The key with what may read the lengths of the queues and nothing else. Takes a list: root, "url" or
"password".
*/}}
{{- define "hearsight.database.readerKey" -}}
{{- with index . 0 }}
{{- if .Values.postgresql.bundled.enabled }}reader-{{ index $ 1 }}
{{- else }}{{ get .Values.database (printf "reader%sKey" (title (index $ 1))) }}
{{- end }}
{{- end }}
{{- end }}

{{/*
Environment variables with the addresses and keys of every store.
*/}}
{{- define "hearsight.storesEnv" -}}
{{- include "hearsight.databaseEnv" . }}
- name: HEARSIGHT_BROKER_URL
  valueFrom:
    secretKeyRef:
      name: {{ include "hearsight.redis.secret" . }}
      key: {{ include "hearsight.redis.key" (list . "broker-url" .Values.redis.brokerUrlKey) }}
- name: HEARSIGHT_REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ include "hearsight.redis.secret" . }}
      key: {{ include "hearsight.redis.key" (list . "redis-url" .Values.redis.redisUrlKey) }}
{{- $secret := include "hearsight.storage.secret" . }}
{{- if $secret }}
{{- if not .Values.storage.url }}
{{- include "hearsight.storage.variable" (list "HEARSIGHT_STORAGE_URL" $secret .Values.storage.urlKey false) }}
{{- end }}
{{- if not .Values.storage.endpoint }}
{{- include "hearsight.storage.variable" (list "HEARSIGHT_STORAGE_ENDPOINT" $secret .Values.storage.endpointKey true) }}
{{- end }}
{{- if not .Values.storage.region }}
{{- include "hearsight.storage.variable" (list "HEARSIGHT_STORAGE_REGION" $secret .Values.storage.regionKey true) }}
{{- end }}
{{- include "hearsight.storage.variable" (list "HEARSIGHT_STORAGE_ACCESS_KEY_ID" $secret .Values.storage.accessKeyIdKey true) }}
{{- include "hearsight.storage.variable" (list "HEARSIGHT_STORAGE_SECRET_ACCESS_KEY" $secret .Values.storage.secretAccessKeyKey true) }}
{{- end }}
{{- end }}

{{/*
One variable out of the object store's Secret. Takes a list: name, Secret, key, whether it may lack.
*/}}
{{- define "hearsight.storage.variable" }}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef:
      name: {{ index . 1 }}
      key: {{ index . 2 }}
      {{- if index . 3 }}
      optional: true
      {{- end }}
{{- end }}
