{{- define "gan.labels" -}}
app.kubernetes.io/name: ganservice
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- /* What selects the pods of one part. */ -}}
{{- define "gan.selector" -}}
{{- $chart := index . 0 -}}
{app.kubernetes.io/instance: {{ $chart.Release.Name }}, app.kubernetes.io/component: {{ index . 1 }}}
{{- end }}

{{- /* The image of one kind, "control" or "worker": by digest if one is given, else of the chart's own version unless a
tag is given. */ -}}
{{- define "gan.image" -}}
{{- $chart := index . 0 -}}
{{- $image := index $chart.Values.images (index . 1) -}}
{{- $version := printf ":%s" ($image.tag | default $chart.Chart.AppVersion) -}}
{{ printf "%s%s" $image.repository ($image.digest | empty | ternary $version (printf "@%s" $image.digest)) | quote }}
{{- end }}

{{- /* How one part, named as in `secrets.brokerKeys`, finds Redis, as whom, and the store. */ -}}
{{- define "gan.env" -}}
{{- $chart := index . 0 -}}
{{- with $chart.Values.secrets -}}
- name: GANSERVICE_BROKER_URL
  valueFrom: {secretKeyRef: {name: {{ .name }}, key: {{ index .brokerKeys (index $ 1) }}}}
- name: GANSERVICE_STORE_URL
  valueFrom: {secretKeyRef: {name: {{ .name }}, key: store-url}}
{{- if .storeKeys }}
- name: GANSERVICE_STORE_ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ .name }}, key: {{ index .storeKeyNames (index $ 1) }}-access-key}}
- name: GANSERVICE_STORE_SECRET_KEY
  valueFrom: {secretKeyRef: {name: {{ .name }}, key: {{ index .storeKeyNames (index $ 1) }}-secret-key}}
{{- end }}
- name: GANSERVICE_STORE_REGION
  value: {{ .storeRegion | quote }}
{{- end }}
{{- end }}

{{- /* What lets a process speak to Ray: whoever has its token runs code on every node. */ -}}
{{- define "gan.ray-token" -}}
- name: RAY_AUTH_MODE
  value: token
- name: RAY_AUTH_TOKEN
  valueFrom: {secretKeyRef: {name: {{ .Values.secrets.name }}, key: ray-token}}
{{- end }}

{{- /* Rights that a namespace of the Pod Security Standard "restricted" admits. */ -}}
{{- define "gan.unprivileged" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
{{- end }}

{{- define "gan.container" -}}
securityContext:
  readOnlyRootFilesystem: true
  {{- include "gan.unprivileged" . | nindent 2 }}
{{- end }}

{{- define "gan.pod" -}}
{{- $chart := index . 0 -}}
{{- with $chart.Values.images.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
serviceAccountName: {{ include "gan.account" . }}
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "gan.account" -}}
{{- $chart := index . 0 -}}
{{- $account := index $chart.Values.serviceAccounts (index . 1) -}}
{{ $account.name | default (printf "%s-%s" $chart.Release.Name (index . 1)) }}
{{- end }}
