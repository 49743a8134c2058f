{{- define "valueloop.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/name: valueloop
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Of one service's API or worker: dict "root" $ "service" name "part" api|worker|migrate|topics */}}
{{- define "valueloop.selector" -}}
app.kubernetes.io/name: valueloop
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ with .service }}{{ . }}-{{ end }}{{ .part }}
{{- end }}

{{- define "valueloop.name" -}}
{{ printf "%s-%s" .root.Release.Name .service | trunc 50 | trimSuffix "-" }}{{ if ne .part "api" }}-{{ .part }}{{ end }}
{{- end }}

{{/* Where a process finds its settings: the environment, then the files of the Secret. */}}
{{- define "valueloop.environment" -}}
- {name: VALUELOOP_SECRETS_DIRECTORY, value: /run/secrets/valueloop}
- {name: VALUELOOP_LOG_JSON, value: "true"}
{{- if not .Values.settings.peers }}
- {name: VALUELOOP_PEERS, value: {{ printf "http://%s-{service}" .Release.Name | quote }}}
{{- end }}
{{- range $name, $value := .Values.settings }}
{{- if ne (toString $value) "" }}
- {name: VALUELOOP_{{ upper $name }}, value: {{ toString $value | quote }}}
{{- end }}
{{- end }}
{{- end }}

{{/* The pod of any process: dict "root" $ "service" … "part" … "command" list "secret" name "resources" … "ports" … */}}
{{- define "valueloop.pod" -}}
metadata:
  labels:
    {{- include "valueloop.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ with .service }}{{ . }}-{{ end }}{{ .part }}
    {{- with .root.Values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  {{- with .root.Values.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false # a Service called valueloop would set VALUELOOP_PORT to tcp://…
  {{- with .root.Values.serviceAccount.name }}
  serviceAccountName: {{ . }}
  {{- end }}
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    seccompProfile: {type: RuntimeDefault}
  {{- if .health }}
  {{- $s := .root.Values.settings }}
  terminationGracePeriodSeconds: {{ add 10 (int $s.drain_grace_seconds) (int $s.drain_seconds) }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels: {{- include "valueloop.selector" . | nindent 10 }}
  {{- else }}
  restartPolicy: OnFailure
  {{- end }}
  containers:
    - name: valueloop
      image: {{ printf "%s:%s" .root.Values.image.repository (.root.Values.image.tag | default .root.Chart.AppVersion) | quote }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args: {{ toJson .command }}
      env:
        {{- include "valueloop.environment" .root | nindent 8 }}
        {{- if eq .part "worker" }}
        - {name: VALUELOOP_HEALTH_PORT, value: "8700"}
        {{- end }}
      {{- if .health }}
      ports: [{name: http, containerPort: 8700}]
      startupProbe: {httpGet: {path: /livez, port: http}, periodSeconds: 2, failureThreshold: 60}
      livenessProbe: {httpGet: {path: /livez, port: http}, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6}
      readinessProbe: {httpGet: {path: /readyz, port: http}, periodSeconds: 5, timeoutSeconds: 5, failureThreshold: 2}
      {{- end }}
      resources: {{- toYaml .resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      volumeMounts:
        - {name: secrets, mountPath: /run/secrets/valueloop, readOnly: true}
        - {name: tmp, mountPath: /tmp}
  volumes:
    - {name: secrets, secret: {secretName: {{ .secret | quote }}, defaultMode: 0440}}
    - {name: tmp, emptyDir: {medium: Memory, sizeLimit: 64Mi}}
  {{- with .root.Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "valueloop.cpuAutoscaler" -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "valueloop.name" . }}
  labels: {{- include "valueloop.labels" .root | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ include "valueloop.name" . }}}
  minReplicas: {{ .autoscaling.minReplicas }}
  maxReplicas: {{ .autoscaling.maxReplicas }}
  metrics:
    - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: {{ .autoscaling.cpuPercent }}}}}
{{- end }}
