{{/*
Who is let in: HEARSIGHT_AUTH. YAML takes an `on` or `off` without quotes for true or false.
*/}}
{{- define "hearsight.auth.mode" -}}
{{- get (dict "true" "on" "false" "off") (toString .Values.auth.mode) | default .Values.auth.mode }}
{{- end }}

{{/*
The Secret with the key that comes with the installation; empty: keys are not asked for.
*/}}
{{- define "hearsight.auth.secret" -}}
{{- if eq (include "hearsight.auth.mode" .) "on" }}
{{- .Values.auth.existingSecret | default (printf "%s-api-key" (include "hearsight.fullname" .)) }}
{{- end }}
{{- end }}

{{/*
That key as an environment variable. Takes a dict: root, name (of the variable).
*/}}
{{- define "hearsight.auth.variable" -}}
{{- with include "hearsight.auth.secret" .root -}}
- name: {{ $.name }}
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: {{ $.root.Values.auth.secretKey }}}
{{- end }}
{{- end }}
