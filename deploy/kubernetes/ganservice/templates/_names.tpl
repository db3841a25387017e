{{- define "gan.labels" -}}
app.kubernetes.io/name: ganservice
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- /* The image of one kind, "control" or "worker", of the chart's own version unless a tag is given. */ -}}
{{- define "gan.image" -}}
{{- $chart := index . 0 -}}
{{- $image := index $chart.Values.images (index . 1) -}}
{{ printf "%s:%s" $image.repository ($image.tag | default $chart.Chart.AppVersion) | quote }}
{{- end }}

{{- /* The environment of every process: addresses and credentials by reference. */ -}}
{{- define "gan.env" -}}
- name: GANSERVICE_BROKER_URL
  valueFrom: {secretKeyRef: {name: {{ .Values.secrets.name }}, key: broker-url}}
- name: GANSERVICE_STORE_URL
  valueFrom: {secretKeyRef: {name: {{ .Values.secrets.name }}, key: store-url}}
{{- if .Values.secrets.storeKeys }}
- name: GANSERVICE_STORE_ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ .Values.secrets.name }}, key: store-access-key}}
- name: GANSERVICE_STORE_SECRET_KEY
  valueFrom: {secretKeyRef: {name: {{ .Values.secrets.name }}, key: store-secret-key}}
{{- end }}
- name: GANSERVICE_STORE_REGION
  value: {{ .Values.secrets.storeRegion | quote }}
{{- end }}

{{- /* The same, of those that speak to Ray: whoever has its token runs code on every node. */ -}}
{{- define "gan.ray-env" -}}
{{ include "gan.env" . }}
- name: GANSERVICE_RAY_ADDRESS
  value: {{ .Release.Name }}-head-svc:6379
- name: RAY_AUTH_MODE
  value: token
- name: RAY_AUTH_TOKEN
  valueFrom: {secretKeyRef: {name: {{ .Values.secrets.name }}, key: ray-token}}
{{- end }}

{{- define "gan.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "gan.pod" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- end }}
