{{/* SPDX-License-Identifier: Apache-2.0
What the pods have in common. */}}

{{- define "tandem.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "tandem.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ int64 .Values.podSecurity.runAsUser }}
runAsGroup: {{ int64 .Values.podSecurity.runAsGroup }}
fsGroup: {{ int64 .Values.podSecurity.fsGroup }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- /* One process: (dict "root" $ "role" "decode" "shm" true "claim" false). Its config is a file of
the mounted ConfigMap; a worker's bears its pod's name. */ -}}
{{- define "tandem.container" -}}
{{- $values := index .root.Values .role -}}
{{- $tls := include "tandem.tls" . -}}
{{- $health := int ($tls | empty | ternary $values.port $values.healthPort) -}}
{{- $image := ternary .root.Values.images.router .root.Values.images.worker (eq .role "router") -}}
- name: {{ .role }}
  image: {{ include "tandem.image" (dict "root" .root "image" $image) | quote }}
  imagePullPolicy: {{ .root.Values.images.pullPolicy }}
  command: [/opt/tandem/bin/tandem-{{ .role }}]
  {{- if ne .role "router" }}
  args: ["--config=/etc/tandem/{{ .role }}/$(POD_NAME).textproto"]
  env:
    - name: POD_NAME
      valueFrom: {fieldRef: {fieldPath: metadata.name}}
  {{- else }}
  args: ["--config=/etc/tandem/router/router.textproto"]
  {{- end }}
  ports:
    - {name: grpc{{ .suffix }}, containerPort: {{ int $values.port }}, protocol: TCP}
    - {name: metrics{{ .suffix }}, containerPort: {{ int $values.metricsPort }}, protocol: TCP}
    {{- if and (eq .role "router") .root.Values.registration.enabled }}
    - {name: registry, containerPort: {{ int .root.Values.registration.port }}, protocol: TCP}
    {{- end }}
    {{- if $tls }}
    - {name: health{{ .suffix }}, containerPort: {{ $health }}, protocol: TCP}
    {{- end }}
  # `liveness` is SERVING as long as the process answers; no name: as long as it takes requests.
  startupProbe:
    grpc: {port: {{ $health }}, service: liveness}
    periodSeconds: 5
    failureThreshold: {{ divf $values.startupSeconds 5 | ceil | int }}
  livenessProbe:
    grpc: {port: {{ $health }}, service: liveness}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  readinessProbe:
    grpc: {port: {{ $health }}}
    periodSeconds: 5
    timeoutSeconds: 3
    failureThreshold: 2
  {{- if $values.preStopSeconds }}
  lifecycle:
    preStop: {sleep: {seconds: {{ int $values.preStopSeconds }}}}
  {{- end }}
  {{- $resources := deepCopy $values.resources }}
  {{- if .claim }}
  {{- $_ := set $resources "claims" (list (dict "name" "gpus")) }}
  {{- else if and $values.gpu (eq .root.Values.mode "split") }}
  {{- if $values.gpu.count }}
  {{- $limits := merge (dict $values.gpu.resourceName (int $values.gpu.count)) ($resources.limits | default dict) }}
  {{- $_ := set $resources "limits" $limits }}
  {{- end }}
  {{- end }}
  resources:
    {{- toYaml $resources | nindent 4 }}
  securityContext:
    {{- include "tandem.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - {name: config-{{ .role }}, mountPath: /etc/tandem/{{ .role }}, readOnly: true}
    {{- range include "tandem.secrets" . | fromJsonArray }}
    - {name: {{ .name }}, mountPath: /etc/tandem/{{ .name }}, readOnly: true}
    {{- end }}
    {{- if ne .root.Values.model.source "embedded" }}
    - {name: model, mountPath: /models, readOnly: true}
    {{- end }}
    {{- if .shm }}
    - {name: shm, mountPath: /dev/shm}
    {{- end }}
{{- end }}

{{- /* What a process reads of Secrets, as a JSON list of volumes: whole folders, so that a change
reaches them. (dict "root" $ "role" "decode") */ -}}
{{- define "tandem.secrets" -}}
{{- $values := .root.Values }}
{{- $names := dict "pod-tls" $values.tls.workers.secretName }}
{{- if eq .role "router" }}
{{- $_ := set $names "tls" $values.tls.router.secretName }}
{{- $_ := set $names "api-keys" $values.apiKeys.secretName }}
{{- end }}
{{- $out := list }}
{{- range $name, $secret := $names }}
{{- if $secret }}
{{- /* 0440: readable for fsGroup. */}}
{{- $volume := dict "secretName" $secret "defaultMode" 288 }}
{{- $out = append $out (dict "name" $name "secret" $volume) }}
{{- end }}
{{- end }}
{{- toJson $out }}
{{- end }}

{{- /* (dict "root" $ "role" "decode" "configs" (list "decode") "shm" true) */ -}}
{{- define "tandem.volumes" -}}
{{- $root := .root -}}
{{- range .configs }}
- name: config-{{ . }}
  configMap: {name: {{ include "tandem.fullname" $root }}-{{ . }}}
{{- end }}
{{- range include "tandem.secrets" (dict "root" .root "role" (first .configs)) | fromJsonArray }}
- {{ toJson . }}
{{- end }}
{{- if .shm }}
- name: shm
  emptyDir: {medium: Memory, sizeLimit: {{ $root.Values.decode.shmSize }}}
{{- end }}
{{- if eq $root.Values.model.source "claim" }}
- name: model
  persistentVolumeClaim: {claimName: {{ $root.Values.model.claim.name }}, readOnly: true}
{{- else if eq $root.Values.model.source "hostPath" }}
- name: model
  hostPath: {path: {{ $root.Values.model.hostPath | quote }}, type: Directory}
{{- end }}
{{- end }}

{{- /* Where pods may run, and how they end: (dict "root" $ "role" "decode" "grace" 630). */ -}}
{{- define "tandem.placement" -}}
{{- $values := index .root.Values .role -}}
{{- $component := include "tandem.component" . -}}
serviceAccountName: {{ include "tandem.serviceAccountName" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
terminationGracePeriodSeconds: {{ .grace }}
securityContext:
  {{- include "tandem.podSecurity" .root | nindent 2 }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
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
{{- if ne $values.spread "none" }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: {{ ternary "DoNotSchedule" "ScheduleAnyway" (eq $values.spread "hard") }}
    labelSelector:
      matchLabels:
        {{- include "tandem.selectorLabels" (dict "root" .root "role" $component) | nindent 8 }}
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "tandem.selectorLabels" (dict "root" .root "role" $component) | nindent 8 }}
{{- end }}
{{- end }}

{{- /* Labels and annotations of a pod: (dict "root" $ "role" "decode" "config" TEXT). A changed
config restarts its pods, one after another; a new version of the chart alone does not. */ -}}
{{- define "tandem.podMetadata" -}}
{{- $values := index .root.Values .role -}}
labels:
  {{- include "tandem.selectorLabels" (dict "root" .root "role" (include "tandem.component" .)) | nindent 2 }}
  {{- with .root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  tandem/config-sha256: {{ sha256sum .config }}
  {{- with $values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- /* preStop, then the drain, then the time to end and to be collected. */ -}}
{{- define "tandem.grace" -}}
{{- $values := index .root.Values .role -}}
{{- add (int $values.preStopSeconds) (int (include "tandem.drainSeconds" .)) 15 -}}
{{- end }}
