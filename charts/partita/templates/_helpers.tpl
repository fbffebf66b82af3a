{{/* The chart's name, as a label value. */}}
{{- define "partita.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/*
How the names of all resources begin. At most 46 characters: the longest suffixes (-routers-external, -routers-headless) have 17,
and a Service's name may have 63.
*/}}
{{- define "partita.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 46 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "partita.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 46 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 46 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels of everything. */}}
{{- define "partita.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: partita
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/*
Labels that select the pods of a component: (dict "root" $ "component" "router"). The name is always partita, whatever the chart
is called in this release: the operator writes it on storage nodes too, and dashboards look for it.
*/}}
{{- define "partita.selector" -}}
app.kubernetes.io/name: partita
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* The image with its tag. */}}
{{- define "partita.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}

{{/* Arguments that each process has. */}}
{{- define "partita.commonArgs" -}}
- --admin-listen=0.0.0.0:8001
- --log-format={{ .Values.logging.format }}
- {{ printf "--log=%s" .Values.logging.filter | quote }}
{{- end -}}

{{/* The part of a pod's specification that is the same everywhere: (dict "root" $ "component" "router" "values" .Values.routers). */}}
{{- define "partita.podDefaults" -}}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
enableServiceLinks: false
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    {{- $strictly := and (eq $.values.topology "required") (eq . "kubernetes.io/hostname") }}
    whenUnsatisfiable: {{ ternary "DoNotSchedule" "ScheduleAnyway" $strictly }}
    labelSelector:
      matchLabels:
        {{- include "partita.selector" $ | nindent 8 }}
    matchLabelKeys:
      - pod-template-hash
  {{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* Metadata of a pod: like partita.podDefaults. The labels that select it cannot be replaced. */}}
{{- define "partita.podMetadata" -}}
labels:
  {{- toYaml (merge (fromYaml (include "partita.selector" .)) .values.podLabels) | nindent 2 }}
{{- with .values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The part of a container that is the same everywhere; the argument is like that of partita.podDefaults. */}}
{{- define "partita.containerDefaults" -}}
image: {{ include "partita.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop:
      - ALL
livenessProbe:
  httpGet:
    path: /healthz
    port: admin
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet:
    path: /readyz
    port: admin
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 3
{{- with .values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
