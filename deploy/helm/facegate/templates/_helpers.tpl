{{- define "facegate.labels" -}}
app.kubernetes.io/name: facegate
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "facegate.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag }}
{{- end }}

{{- define "facegate.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 1000
  fsGroup: 1000
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "facegate.container" -}}
image: {{ include "facegate.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "facegate.env" -}}
- name: NATS_URL
{{- if .Values.nats.existingSecret }}
  valueFrom: {secretKeyRef: {name: {{ .Values.nats.existingSecret }}, key: url}}
{{- else }}
  value: {{ .Values.nats.url | quote }}
{{- end }}
{{- end }}

{{- define "facegate.claim" -}}
- metadata: {name: data}
  spec:
    accessModes: [ReadWriteOnce]
    {{- with .storageClass }}
    storageClassName: {{ . }}
    {{- end }}
    resources: {requests: {storage: {{ .size }}}}
{{- end }}

{{- define "facegate.probes" -}}
ports:
  - {name: metrics, containerPort: 9108}
# Ready while it is healthy; restarted only if it does not answer at all, since a restart brings no server or camera back.
readinessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
livenessProbe:
  tcpSocket: {port: metrics}
  periodSeconds: 20
  failureThreshold: 6
startupProbe:
  tcpSocket: {port: metrics}
  periodSeconds: 3
  failureThreshold: 60
{{- end }}
