{{/*
What the pods of all services share: who they run as, where they may run, what they wait for.
*/}}

{{/*
Where pods may run, and how. Takes a dict: root, values (of the component), selectorLabels (for
constraints that name none), and where they apply gpuSelector and gpuTolerations.
*/}}
{{- define "hearsight.scheduling" -}}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with merge (dict) (.gpuSelector | default dict) .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat .values.tolerations (.gpuTolerations | default list) }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  {{- $own := dict "labelSelector" (dict "matchLabels" ($.selectorLabels | fromYaml)) }}
  - {{ toYaml (merge (deepCopy .) $own) | nindent 4 | trim }}
  {{- end }}
{{- end }}
{{- end }}

{{/*
The init container that waits until the tables are those of this version or a newer one.
Takes a dict: root, image.
*/}}
{{- define "hearsight.waitForSchema" -}}
- name: wait-for-schema
  image: {{ .image }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: [python, -m, hearsight_core.store.migrate, --wait]
  env:
    {{- include "hearsight.databaseEnv" .root | nindent 4 }}
  resources:
    {{- toYaml .root.Values.migrations.resources | nindent 4 }}
  securityContext:
    {{- toYaml .root.Values.securityContext | nindent 4 }}
  volumeMounts:
    - {name: tmp, mountPath: /tmp}
{{- end }}

{{/*
Startup, readiness and liveness probes, on the port of health and metrics, which clients can't keep
busy. None of them asks a broker. Takes the component's probes.
*/}}
{{- define "hearsight.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: metrics}
  {{- toYaml .startup | nindent 2 }}
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  {{- toYaml .readiness | nindent 2 }}
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  {{- toYaml .liveness | nindent 2 }}
{{- end }}

{{/*
A volume for files in work. Takes scratch values: sizeLimit, volume.
*/}}
{{- define "hearsight.scratchVolume" -}}
- name: scratch
  {{- if .volume }}
  {{- toYaml .volume | nindent 2 }}
  {{- else }}
  emptyDir: {sizeLimit: {{ .sizeLimit }}}
  {{- end }}
{{- end }}
