{{- /* Whom network.yaml lets speak to whom. */ -}}
{{- define "gan.from" -}}
{{- $chart := index . 0 -}}
{{- range rest . }}
- podSelector: {matchLabels: {{ include "gan.selector" (list $chart .) }}}
{{- end }}
{{- end }}
{{- define "gan.from-users" -}}
{{- range .Values.access.namespaces }}
- namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: {{ . }}}}
{{- end }}
{{- range .Values.access.cidrs }}
- ipBlock: {cidr: {{ . }}}
{{- end }}
{{- end }}
{{- define "gan.to-servers" -}}
- to: [{namespaceSelector: {}, podSelector: {matchLabels: {k8s-app: kube-dns}}}]
  ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
- to: {{- include "gan.from" (list . "redis") | nindent 4 }}
  ports: [{port: 6379}]
{{- range .Values.networkPolicies.external }}
- to: [{ipBlock: {cidr: {{ .cidr }}}}]
  ports: {{- range .ports }}
    - port: {{ . }}
  {{- end }}
{{- end }}
{{- end }}
{{- define "gan.to-store" -}}
- to: {{- include "gan.from" (list . "store") | nindent 4 }}
  ports: [{port: 8333}]
{{- if .Values.networkPolicies.instanceRole }}
- to:
    # Where EC2 and, for EKS Pod Identity, the agent of its node give credentials.
    - ipBlock: {cidr: 169.254.169.254/32}
    - ipBlock: {cidr: 169.254.170.23/32}
  ports: [{port: 80}]
{{- end }}
{{- end }}
{{- /* Ray's nodes and drivers answer one another on ports of their own choice. */ -}}
{{- define "gan.to-ray" -}}
- to: {{- include "gan.from" (list . "head" "node" "dispatcher") | nindent 4 }}
{{- end }}
