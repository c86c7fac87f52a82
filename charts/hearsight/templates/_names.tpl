{{/*
The chart's name, as the label app.kubernetes.io/name has it.
*/}}
{{- define "hearsight.name" -}}
{{- default "hearsight" .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/*
What every object's name begins with: the release's name if "hearsight" is in it, else
RELEASE-hearsight. Cut to 40 characters, since names of pods, jobs and labels have to fit into 63.
*/}}
{{- define "hearsight.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains "hearsight" .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-hearsight" (.Release.Name | trunc 30 | trimSuffix "-") }}
{{- end }}
{{- end }}

{{/*
Labels that select the pods of one component; they never change between versions of the chart.
Takes a dict: root, component, and pool for ASR workers.
*/}}
{{- define "hearsight.selectorLabels" -}}
app.kubernetes.io/name: {{ include "hearsight.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .pool }}
hearsight/asr-pool: {{ . }}
{{- end }}
{{- end }}

{{/*
Every label of an object. Takes a dict: root, component, and pool for ASR workers.
*/}}
{{- define "hearsight.labels" -}}
{{ include "hearsight.selectorLabels" . }}
app.kubernetes.io/part-of: hearsight
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
Labels of a service's pods; without the chart's version, whose change is no reason to restart them.
Takes the same.
*/}}
{{- define "hearsight.podLabels" -}}
{{ include "hearsight.selectorLabels" . }}
app.kubernetes.io/part-of: hearsight
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
`metadata` of an object, without the key itself. Takes a dict: root, component, name, and where they
apply pool, labels and annotations (dicts), keep (true: helm uninstall leaves the object).
*/}}
{{- define "hearsight.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "hearsight.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $annotations := merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
{{- if .keep }}
{{- $_ := set $annotations "helm.sh/resource-policy" "keep" }}
{{- end }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
A component's image. Takes a dict: root, image (repository, tag), and a suffix for the tag, which one
that names a digest does not get.
*/}}
{{- define "hearsight.image" -}}
{{- $tag := .image.tag | default .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- if not (contains "@" $tag) }}
{{- $tag = printf "%s%s" $tag (.suffix | default "") }}
{{- end }}
{{- with .root.Values.image.registry }}{{ . }}/{{ end }}{{ .image.repository }}:{{ $tag }}
{{- end }}

{{/*
Name of a component's service account. Takes a dict: name (of the component's objects) and values.
*/}}
{{- define "hearsight.serviceAccountName" -}}
{{- with .values.serviceAccount }}
{{- if .create }}{{ .name | default $.name }}{{ else }}{{ .name | default "default" }}{{ end }}
{{- end }}
{{- end }}
