{{/*
The Deployment of one component. Takes a dict:
  root          the chart's root context
  component     the label app.kubernetes.io/component; also the container's name
  pool          ASR workers only: their pool
  name          the object's name
  values        the component's values
  imageSuffix   appended to the image's tag
  scaled        true: an autoscaler decides how many replicas there are
  port          the API only: the port that clients reach, named http
  env           rendered list: variables of this component alone
  volumes, volumeMounts   rendered lists, besides those every pod has
  resources     dict, in place of the values' resources
  lifecycle     dict
  gpuSelector, gpuTolerations   see hearsight.scheduling
*/}}
{{- define "hearsight.deployment" -}}
{{- $selector := include "hearsight.selectorLabels" . }}
{{- $image := include "hearsight.image" (dict "root" .root "image" .values.image "suffix" .imageSuffix) }}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "hearsight.metadata" . | nindent 2 }}
spec:
  {{- if not .scaled }}
  replicas: {{ .values.replicas }}
  {{- end }}
  revisionHistoryLimit: 3
  strategy:
    {{- toYaml .values.strategy | nindent 4 }}
  selector:
    matchLabels:
      {{- $selector | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "hearsight.podLabels" . | nindent 8 }}
        {{- with .values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        checksum/settings: {{ include "hearsight.settings" .root | sha256sum }}
        {{- if .root.Values.monitoring.podAnnotations }}
        prometheus.io/scrape: "true"
        prometheus.io/path: /metrics
        prometheus.io/port: "9100"
        {{- end }}
        {{- with .root.Values.commonAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- with .values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "hearsight.serviceAccountName" . }}
      automountServiceAccountToken: false
      # A service of the namespace that is called hearsight would else set HEARSIGHT_PORT.
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ .values.terminationGracePeriodSeconds }}
      securityContext:
        {{- toYaml .root.Values.podSecurityContext | nindent 8 }}
      {{- with include "hearsight.scheduling" (merge (dict "selectorLabels" $selector) .) }}
      {{- trim . | nindent 6 }}
      {{- end }}
      initContainers:
        {{- include "hearsight.waitForSchema" (dict "root" .root "image" $image) | nindent 8 }}
      containers:
        - name: {{ .component }}
          image: {{ $image }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          envFrom:
            - configMapRef: {name: {{ include "hearsight.fullname" .root }}-settings}
          env:
            {{- include "hearsight.storesEnv" .root | nindent 12 }}
            {{- with .env }}
            {{- . | nindent 12 }}
            {{- end }}
            {{- with concat .root.Values.extraEnv .values.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          ports:
            {{- with .port }}
            - {name: http, containerPort: {{ . }}, protocol: TCP}
            {{- end }}
            - {name: metrics, containerPort: 9100, protocol: TCP}
          {{- include "hearsight.probes" .values.probes | nindent 10 }}
          {{- with .lifecycle }}
          lifecycle:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          resources:
            {{- toYaml (.resources | default .values.resources) | nindent 12 }}
          securityContext:
            {{- toYaml .root.Values.securityContext | nindent 12 }}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            {{- if .root.Values.storage.volume.enabled }}
            - {name: media, mountPath: {{ include "hearsight.storage.folder" .root }}}
            {{- end }}
            {{- with .volumeMounts }}
            {{- . | nindent 12 }}
            {{- end }}
            {{- with .values.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      volumes:
        - name: tmp
          emptyDir: {sizeLimit: 1Gi}
        {{- if .root.Values.storage.volume.enabled }}
        - name: media
          persistentVolumeClaim: {claimName: {{ include "hearsight.storage.claim" .root }}}
        {{- end }}
        {{- with .volumes }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with .values.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{- end }}

{{/*
What stands beside every Deployment: its service account and its disruption budget. Takes the same.
*/}}
{{- define "hearsight.companions" -}}
{{- if .values.serviceAccount.create }}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- $name := include "hearsight.serviceAccountName" . }}
  {{- include "hearsight.metadata" (merge (dict "name" $name "annotations" .values.serviceAccount.annotations) .) | nindent 2 }}
automountServiceAccountToken: false
{{- end }}
{{- if .values.pdb.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "hearsight.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .values.pdb.maxUnavailable }}
  # A pod that is not ready serves nobody, and must not keep a node from being drained.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "hearsight.selectorLabels" . | nindent 6 }}
{{- end }}
{{- end }}
