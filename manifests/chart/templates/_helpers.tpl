{{/* Start of each object's name. */}}
{{- define "signet.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* Name of the objects of a component: (list $ "webhook"). The controller's have no suffix, as users know them. */}}
{{- define "signet.name" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- if eq $component "controller" -}}
{{- include "signet.fullname" $root -}}
{{- else -}}
{{- printf "%s-%s" (include "signet.fullname" $root) $component -}}
{{- end -}}
{{- end }}

{{/* Labels by which a component's pods are selected; they cannot be changed later. */}}
{{- define "signet.selector" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
app.kubernetes.io/name: {{ eq $component "controller" | ternary "cert-manager" $component }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ $component }}
{{- end }}

{{/* Labels of every object of a component. */}}
{{- define "signet.labels" -}}
{{- $root := index . 0 -}}
{{ include "signet.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Image of a component and when to pull it. */}}
{{- define "signet.image" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
image: {{ printf "%s/signet-%s:%s" $root.Values.image.registry $component ($root.Values.image.tag | default (printf "v%s" $root.Chart.AppVersion)) }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
{{- end }}

{{/* Flags that every program has. */}}
{{- define "signet.loggingArgs" -}}
- --v={{ .Values.logging.level }}
- --logging-format={{ .Values.logging.format }}
{{- end }}

{{/* Namespace of the Secrets that ClusterIssuers name. */}}
{{- define "signet.clusterResourceNamespace" -}}
{{- .Values.clusterResourceNamespace | default .Release.Namespace -}}
{{- end }}

{{/* Security of a pod that needs nothing of its node. */}}
{{- define "signet.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "signet.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: ["ALL"]
{{- end }}

{{/* Liveness and readiness on the port "healthz". */}}
{{- define "signet.probes" -}}
livenessProbe:
  httpGet:
    path: /livez
    port: healthz
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet:
    path: /readyz
    port: healthz
  periodSeconds: 2
  timeoutSeconds: 5
{{- end }}

{{/* Where a component's pods may run: (list $ $.Values.webhook). */}}
{{- define "signet.scheduling" -}}
{{- $root := index . 0 -}}
{{- $values := index . 1 -}}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
