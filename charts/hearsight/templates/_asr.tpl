{{/*
Every ASR pool with its values, the default one first: YAML with the list `pools` of
{pool, name, values}. What a pool of asrPools does not say is as asrWorker has it.
*/}}
{{- define "hearsight.asr.pools" -}}
{{- $name := printf "%s-asr-worker" (include "hearsight.fullname" .) }}
{{- $pools := list (dict "pool" "default" "name" $name "values" .Values.asrWorker) }}
{{- range .Values.asrPools }}
{{- $values := mergeOverwrite (deepCopy $.Values.asrWorker) (omit . "name") }}
{{- $pools = append $pools (dict "pool" .name "name" (printf "%s-%s" $name .name) "values" $values) }}
{{- end }}
{{- dict "pools" $pools | toYaml }}
{{- end }}

{{/*
The rest belongs to one pool: flavour of the image, device, model, GPU. Each takes its values.
*/}}

{{- define "hearsight.asr.device" -}}
{{- if .device }}{{ .device }}{{ else if .gpu.enabled }}cuda{{ else }}cpu{{ end }}
{{- end }}

{{- define "hearsight.asr.flavour" -}}
{{- if .flavour }}{{ .flavour }}{{ else if and .gpu.enabled (ne .device "cpu") }}cuda{{ else }}cpu{{ end }}
{{- end }}

{{/*
What HEARSIGHT_MODEL is: empty for the image's own.
*/}}
{{- define "hearsight.asr.model" -}}
{{- if eq .model.source "mounted" }}{{ printf "/models/%s" .model.path | trimSuffix "/" }}{{ else }}{{ .model.name }}{{ end }}
{{- end }}

{{/*
Variables of a pool's workers, as a YAML list. Takes a dict: pool, values.
*/}}
{{- define "hearsight.asr.env" -}}
- name: HEARSIGHT_ASR_POOL
  value: {{ .pool }}
{{- with .values }}
- name: HEARSIGHT_DEVICE
  value: {{ include "hearsight.asr.device" . }}
- name: HEARSIGHT_SCRATCH_DIR
  value: /scratch
{{- with include "hearsight.asr.model" . }}
- name: HEARSIGHT_MODEL
  value: {{ . | quote }}
{{- end }}
{{- range $name, $value := dict
  "HEARSIGHT_COMPUTE_TYPE" .computeType
  "HEARSIGHT_ASR_BATCH_SIZE" .batchSize
  "HEARSIGHT_ASR_STREAMS" .streams
  "HEARSIGHT_ASR_MEMORY_SHARE" .memoryShare
  "HEARSIGHT_ASR_UNLOAD_IDLE_S" .unloadIdleS
  "HEARSIGHT_BEAM_SIZE" .beamSize
  "CELERY_WORKER_CONCURRENCY" .concurrency }}
{{- with $value }}
- name: {{ $name }}
  value: {{ toString . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/*
The volume /models. A baked model lies there in the image, so nothing may be mounted over it.
*/}}
{{- define "hearsight.asr.volumes" -}}
{{- include "hearsight.scratchVolume" .scratch }}
{{- if ne .model.source "baked" }}
- name: models
  {{- if .model.existingClaim }}
  persistentVolumeClaim:
    claimName: {{ .model.existingClaim }}
    {{- if eq .model.source "mounted" }}
    readOnly: true
    {{- end }}
  {{- else if .model.volume }}
  {{- toYaml .model.volume | nindent 2 }}
  {{- else }}
  emptyDir: {sizeLimit: {{ .model.sizeLimit }}}
  {{- end }}
{{- end }}
{{- end }}

{{- define "hearsight.asr.volumeMounts" -}}
- {name: scratch, mountPath: /scratch}
{{- if ne .model.source "baked" }}
- {name: models, mountPath: /models, readOnly: {{ eq .model.source "mounted" }}}
{{- end }}
{{- end }}

{{/*
The values' resources, with the GPUs added.
*/}}
{{- define "hearsight.asr.resources" -}}
{{- $resources := deepCopy .resources }}
{{- if .gpu.enabled }}
{{- $gpus := dict .gpu.resourceName (toString .gpu.count) }}
{{- $resources = merge (dict "requests" (deepCopy $gpus) "limits" (deepCopy $gpus)) $resources }}
{{- end }}
{{- toYaml $resources }}
{{- end }}
