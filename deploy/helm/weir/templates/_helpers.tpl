{{- define "weir.name" -}}
{{- if contains "weir" .Release.Name -}}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{- else -}}{{ printf "%s-weir" .Release.Name | trunc 50 | trimSuffix "-" }}{{- end -}}
{{- end -}}

{{- define "weir.selector" -}}
app.kubernetes.io/name: weir
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "weir.labels" -}}
{{ include "weir.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "weir.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "weir.env" -}}
- {name: WEIR_BROKER, value: {{ .Values.broker | quote }}}
- {name: WEIR_REDIS, value: {{ .Values.redis | quote }}}
- {name: WEIR_DATABASE, value: {{ .Values.database | quote }}}
- {name: WEIR_PROFILE, value: {{ ternary "/etc/weir/profile.toml" .Values.profile (ne .Values.profileToml "") | quote }}}
{{- if .Values.topicPrefix }}
- {name: WEIR_TOPIC_PREFIX, value: {{ .Values.topicPrefix | quote }}}
{{- end }}
- {name: WEIR_METRICS_PORT, value: {{ .Values.metricsPort | quote }}}
- {name: WEIR_METRICS_HOST, value: {{ .Values.metricsHost | quote }}}
- {name: WEIR_LOG, value: INFO}
{{- range .Values.secret.passwords }}
- {name: {{ printf "WEIR_%s_FILE" (upper .) }}, value: {{ printf "/etc/weir/secrets/%s" . | quote }}}
{{- end }}
{{- with .Values.secret.keys }}
- {name: WEIR_SEAL_KEY_FILE, value: {{ printf "/etc/weir/secrets/%s" .seal | quote }}}
- {name: WEIR_MODEL_TRUSTED_KEYS, value: {{ printf "/etc/weir/secrets/%s" .modelTrusted | quote }}}
{{- end }}
{{- range $name, $value := .Values.env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end -}}

{{- define "weir.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "weir.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- /* The key that signs models is for the learner alone: a scorer that was taken over must not be able to sign one. */ -}}
{{- define "weir.volumes" -}}
{{- $keys := .root.Values.secret.keys -}}
- name: state
  emptyDir: {sizeLimit: 256Mi}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
- name: secrets
  secret:
    secretName: {{ .root.Values.secret.name }}
    defaultMode: 0440
    items:
      {{- range .root.Values.secret.passwords }}
      - {key: {{ . }}, path: {{ . }}}
      {{- end }}
      - {key: {{ $keys.seal }}, path: {{ $keys.seal }}}
      - {key: {{ $keys.modelTrusted }}, path: {{ $keys.modelTrusted }}}
      {{- if eq .role "learn" }}
      - {key: {{ $keys.modelKey }}, path: {{ $keys.modelKey }}}
      {{- end }}
{{- if .root.Values.profileToml }}
- name: profile
  configMap: {name: {{ include "weir.name" .root }}-profile}
{{- end }}
{{- end -}}

{{- define "weir.mounts" -}}
- {name: state, mountPath: /var/lib/weir}
- {name: tmp, mountPath: /tmp}
- {name: secrets, mountPath: /etc/weir/secrets, readOnly: true}
{{- if .Values.profileToml }}
- {name: profile, mountPath: /etc/weir/profile.toml, subPath: profile.toml, readOnly: true}
{{- end }}
{{- end -}}
