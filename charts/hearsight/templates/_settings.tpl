{{/*
Settings that are no secret, as the data of a ConfigMap. Those that are null keep the service's own
default. Numbers are written by themselves: Helm would write large ones as 4.294967296e+09.
*/}}
{{- define "hearsight.settings" -}}
HEARSIGHT_HOST: "0.0.0.0"
HEARSIGHT_METRICS_HOST: "0.0.0.0"
HEARSIGHT_METRICS_PORT: "9100"
HEARSIGHT_AUTH: {{ include "hearsight.auth.mode" . | quote }}
HEARSIGHT_LOG_FORMAT: {{ .Values.settings.logFormat | quote }}
HEARSIGHT_LOG_LEVEL: {{ .Values.settings.logLevel | quote }}
HEARSIGHT_LANGUAGE: {{ .Values.settings.language | quote }}
{{- with .Values.settings.allowHosts }}
HEARSIGHT_DOWNLOAD_ALLOW_HOSTS: {{ join "," . | quote }}
{{- end }}
{{- with .Values.settings.otlpEndpoint }}
HEARSIGHT_OTLP_ENDPOINT: {{ . | quote }}
{{- end }}
{{- if .Values.asrPools }}
{{- $pools := list "default" }}
{{- range .Values.asrPools }}
{{- $pools = append $pools .name }}
{{- end }}
HEARSIGHT_ASR_POOLS: {{ join "," $pools }}
{{- end }}
{{- $names := dict
  "databasePoolSize" "DATABASE_POOL_SIZE"
  "leaseS" "LEASE_S"
  "heartbeatS" "HEARTBEAT_S"
  "maxFailures" "MAX_FAILURES"
  "maxStoreFailures" "MAX_STORE_FAILURES"
  "retryBackoffS" "RETRY_BACKOFF_S"
  "retryBackoffMaxS" "RETRY_BACKOFF_MAX_S"
  "hintResendS" "HINT_RESEND_S"
  "hintsPerSlot" "HINTS_PER_SLOT"
  "dispatchIntervalS" "DISPATCH_INTERVAL_S"
  "retentionJobDays" "RETENTION_JOB_DAYS"
  "retentionMediaDays" "RETENTION_MEDIA_DAYS"
  "maxUploadBytes" "MAX_UPLOAD_BYTES"
  "maxDownloadBytes" "MAX_DOWNLOAD_BYTES"
  "maxDurationS" "MAX_DURATION_S"
  "downloadTimeoutS" "DOWNLOAD_TIMEOUT_S"
  "socketTimeoutS" "SOCKET_TIMEOUT_S"
  "partTargetS" "PART_TARGET_S"
  "partShortestS" "PART_SHORTEST_S"
  "vadThreshold" "VAD_THRESHOLD"
  "fetcherMemoryMib" "FETCHER_MEMORY_MIB"
  "decoderMemoryMib" "DECODER_MEMORY_MIB"
  "quotaRequestsPerMinute" "QUOTA_REQUESTS_PER_MINUTE"
  "quotaQueuedJobs" "QUOTA_QUEUED_JOBS"
  "quotaAudioMinutesPerDay" "QUOTA_AUDIO_MINUTES_PER_DAY"
  "maxQueuedJobs" "MAX_QUEUED_JOBS"
  "maxRequests" "MAX_REQUESTS"
  "maxUploads" "MAX_UPLOADS"
  "maxWatchers" "MAX_WATCHERS"
  "minUploadBytesPerS" "MIN_UPLOAD_BYTES_PER_S" }}
{{- range $key, $name := $names }}
{{- $value := dig $key nil $.Values.settings }}
{{- if not (kindIs "invalid" $value) }}
HEARSIGHT_{{ $name }}: {{ include "hearsight.number" $value | quote }}
{{- end }}
{{- end }}
{{- with .Values.storage }}
{{- if .volume.enabled }}
HEARSIGHT_STORAGE_URL: file://{{ include "hearsight.storage.folder" $ }}
{{- else if .url }}
HEARSIGHT_STORAGE_URL: {{ .url | quote }}
{{- end }}
{{- if not .volume.enabled }}
{{- with .endpoint }}
HEARSIGHT_STORAGE_ENDPOINT: {{ . | quote }}
{{- end }}
{{- with .region }}
HEARSIGHT_STORAGE_REGION: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "hearsight.number" -}}
{{- if eq (float64 .) (float64 (int64 .)) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}
