{{/*
A NetworkPolicy for one component's pods. Takes a dict: root, component, pool, name, and rendered
lists of rules, either of which may be empty: ingress, egress.
*/}}
{{- define "hearsight.networkPolicy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "hearsight.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "hearsight.selectorLabels" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  {{- with .ingress | default "" | trim }}
  ingress:
    {{- . | nindent 4 }}
  {{- end }}
  {{- with .egress | default "" | trim }}
  egress:
    {{- . | nindent 4 }}
  {{- end }}
{{- end }}

{{/*
One rule of egress. Takes a dict: to (a list of peers, empty: anywhere), ports.
*/}}
{{- define "hearsight.network.egress" }}
- ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ int . }}}
    {{- end }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/*
The pods of a component of this release, as peers. Takes a dict: root, component.
*/}}
{{- define "hearsight.network.peer" -}}
- podSelector:
    matchLabels:
      {{- include "hearsight.selectorLabels" . | nindent 6 }}
{{- end }}

{{- define "hearsight.network.postgresql" }}
{{- $external := .Values.networkPolicy.external.postgresql }}
{{- if .Values.postgresql.bundled.enabled }}
{{- $peer := include "hearsight.network.peer" (dict "root" . "component" "postgresql") | fromYamlArray }}
{{- include "hearsight.network.egress" (dict "to" $peer "ports" (list 5432)) }}
{{- else }}
{{- include "hearsight.network.egress" $external }}
{{- end }}
{{- end }}

{{- define "hearsight.network.redis" }}
{{- if .Values.valkey.bundled.enabled }}
{{- $peer := include "hearsight.network.peer" (dict "root" . "component" "valkey") | fromYamlArray }}
{{- include "hearsight.network.egress" (dict "to" $peer "ports" (list 6379)) }}
{{- else }}
{{- include "hearsight.network.egress" .Values.networkPolicy.external.redis }}
{{- end }}
{{- end }}

{{/*
What every service reaches: PostgreSQL, Redis, the object store, and the collector of traces.
*/}}
{{- define "hearsight.network.stores" }}
{{- include "hearsight.network.postgresql" . }}
{{- include "hearsight.network.redis" . }}
{{- if not .Values.storage.volume.enabled }}
{{- include "hearsight.network.egress" .Values.networkPolicy.external.storage }}
{{- end }}
{{- if .Values.settings.otlpEndpoint }}
{{- include "hearsight.network.egress" .Values.networkPolicy.external.otlp }}
{{- end }}
{{- end }}

{{/*
The Internet without any network of one's own: private ranges, link-local ones with the clouds'
metadata, carriers', multicast and reserved ones.
*/}}
{{- define "hearsight.network.internet" }}
{{- with .Values.networkPolicy.internet }}
{{- $to := list (dict "ipBlock" (dict "cidr" "0.0.0.0/0" "except" .except)) }}
{{- if .ipv6 }}
{{- $to = append $to (dict "ipBlock" (dict "cidr" "2000::/3" "except" .exceptIpv6)) }}
{{- end }}
{{- include "hearsight.network.egress" (dict "to" $to "ports" .ports) }}
{{- end }}
{{- end }}

{{/*
Who may read a process's metrics. Probes come from the node itself, which no policy stops.
*/}}
{{- define "hearsight.network.metrics" -}}
{{- with .Values.networkPolicy.metricsFrom }}
- ports:
    - {protocol: TCP, port: 9100}
  from:
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- end }}
