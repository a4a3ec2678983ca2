{{/* Names, labels, and what the pod and the migration have in common. */}}

{{- define "orderhub.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "orderhub.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "orderhub.labels" -}}
{{ include "orderhub.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "orderhub.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "orderhub.claim" -}}
{{- .Values.database.sqlite.existingClaim | default (include "orderhub.name" .) -}}
{{- end }}

{{/* Fields of a container: what the hub is told, and what it may not do. */}}
{{- define "orderhub.container" -}}
image: {{ include "orderhub.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
envFrom:
  - secretRef:
      name: {{ required "secretName: the hub needs a Secret with JWT_SECRET, or with other keys for tokens" .Values.secretName }}
env:
  - {name: BIND_ADDR, value: '0.0.0.0:8080'}
  - {name: ADMIN_BIND, value: '0.0.0.0:9090'}
  - {name: DATA_DIR, value: /data}
  - {name: DRAIN_SECS, value: {{ .Values.drain.secs | quote }}}
  {{- if eq .Values.database.kind "postgres" }}
  - {name: AUTO_MIGRATE, value: 'false'}
  # The Secret must have it: without it the hub would take SQLite.
  - name: DATABASE_URL
    valueFrom:
      secretKeyRef: {name: {{ .Values.secretName }}, key: DATABASE_URL}
  {{- else }}
  - {name: DATABASE_URL, value: 'sqlite:/data/orderhub.sqlite3'}
  {{- end }}
  {{- /* Helm reads numbers as floats, and would write a million as 1e+06. */}}
  {{- range $name, $value := .Values.settings }}
  - {name: {{ $name }}, value: {{ kindIs "float64" $value | ternary (int64 $value) $value | quote }}}
  {{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: data, mountPath: /data}
  {{- if .Values.filesSecretName }}
  - {name: files, mountPath: /etc/orderhub, readOnly: true}
  {{- end }}
{{- end }}

{{/* Fields of a pod that both have. */}}
{{- define "orderhub.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {{ toYaml .Values.seccompProfile | nindent 4 }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}
