{{/* SPDX-License-Identifier: Apache-2.0
Names, labels, images, and the settings that one value alone cannot get wrong. */}}

{{- define "tandem.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- /* A pod's name is a DNS label, and ends with role and number. */ -}}
{{- trunc 40 $full | trimSuffix "-" -}}
{{- end }}

{{- /* (dict "root" $ "role" "decode") */ -}}
{{- define "tandem.selectorLabels" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "tandem.labels" -}}
{{ include "tandem.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: tandem
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "tandem.metadata" -}}
name: {{ include "tandem.fullname" .root }}-{{ .name | default .role }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "tandem.labels" . | nindent 2 }}
{{- end }}

{{- /* (dict "root" $ "image" .Values.images.router) */ -}}
{{- define "tandem.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "tandem.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "tandem.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end }}

{{- /* The workloads of this mode: a JSON list of roles. */ -}}
{{- define "tandem.roles" -}}
{{- if eq .Values.mode "sharedPod" -}}
["router","sharedPod"]
{{- else -}}
["router","prefill","decode"]
{{- end -}}
{{- end }}

{{- /* sharedPod → worker: the part of a name that stands for a role. */ -}}
{{- define "tandem.component" -}}
{{- ternary "worker" .role (eq .role "sharedPod") -}}
{{- end }}

{{- /* How many of a role there may be: (dict "root" $ "role" "decode"). */ -}}
{{- define "tandem.replicasMax" -}}
{{- $values := index .root.Values .role -}}
{{- max (int $values.replicas) (int $values.replicasMax) -}}
{{- end }}

{{- define "tandem.scales" -}}
{{- $values := index .root.Values .role -}}
{{- if and (ne .root.Values.autoscaling.kind "none") (gt (int $values.replicasMax) (int $values.replicas)) -}}
yes
{{- end -}}
{{- end }}

{{- define "tandem.drainSeconds" -}}
{{- if eq .role "router" -}}
{{ dig "drain_timeout" "seconds" 30 .root.Values.router.config | int64 }}
{{- else -}}
{{ dig "worker" "drain_timeout" "seconds" 30 (index .root.Values .role).config | int64 }}
{{- end -}}
{{- end }}

{{- /* What no schema can say. Included once, by the router's ConfigMap. */ -}}
{{- define "tandem.check" -}}
{{- range $role := list "router" "prefill" "decode" "sharedPod" }}
{{- $values := index $.Values $role }}
{{- if and (gt (int $values.replicasMax) 0) (lt (int $values.replicasMax) (int $values.replicas)) }}
{{- fail (printf "%s.replicasMax: %d is below %s.replicas: %d" $role (int $values.replicasMax) $role (int $values.replicas)) }}
{{- end }}
{{- end }}
{{- $strict := eq (dig "kv_channel" "" .Values.prefill.config) "KV_CHANNEL_POLICY_STRICT" }}
{{- $kind := dig "kv_channel_kind" "" .Values.prefill.config }}
{{- $several := gt (int (include "tandem.replicasMax" (dict "root" . "role" "sharedPod"))) 1 }}
{{- if and $strict (eq .Values.mode "split") (has $kind (list "KV_CHANNEL_KIND_SHARED" "KV_CHANNEL_KIND_IPC")) }}
{{- fail "prefill.config.kv_channel: STRICT with kv_channel_kind SHARED or IPC needs mode: sharedPod; in mode split no two pods share memory" }}
{{- end }}
{{- if and $strict (eq .Values.mode "sharedPod") $several (ne $kind "KV_CHANNEL_KIND_GRPC") }}
{{- fail "prefill.config.kv_channel: STRICT with sharedPod.replicas above 1: the router also pairs workers of two pods, which share no memory" }}
{{- end }}
{{- if and (eq .Values.model.source "claim") (not .Values.model.claim.name) }}
{{- fail "model.claim.name: is required with model.source: claim" }}
{{- end }}
{{- if and (eq .Values.model.source "hostPath") (not .Values.model.hostPath) }}
{{- fail "model.hostPath: is required with model.source: hostPath" }}
{{- end }}
{{- if and .Values.ingress.enabled (not (and .Values.ingress.host .Values.ingress.tlsSecretName)) }}
{{- fail "ingress.host, ingress.tlsSecretName: are required with ingress.enabled" }}
{{- end }}
{{- if and .Values.gateway.enabled (not .Values.gateway.parentRefs) }}
{{- fail "gateway.parentRefs: needs at least one with gateway.enabled" }}
{{- end }}
{{- if and (eq .Values.autoscaling.kind "keda") (not .Values.autoscaling.prometheusUrl) }}
{{- fail "autoscaling.prometheusUrl: is required with autoscaling.kind: keda" }}
{{- end }}
{{- if and .Values.apiKeys.secretName .Values.test.enabled (not .Values.test.apiKeySecretName) }}
{{- fail "test.apiKeySecretName: is required with apiKeys.secretName, or test.enabled: false" }}
{{- end }}
{{- if and .Values.tls.router.clientCertificates (not .Values.tls.router.secretName) }}
{{- fail "tls.router.secretName: is required with tls.router.clientCertificates" }}
{{- end }}
{{- $own := list .Values.router.port .Values.router.metricsPort .Values.router.healthPort .Values.registration.port }}
{{- if ne (len (uniq $own)) (len $own) }}
{{- fail (printf "router's ports and registration.port must differ: %v" $own) }}
{{- end }}
{{- $ports := list .Values.prefill.port .Values.prefill.metricsPort .Values.decode.port .Values.decode.metricsPort }}
{{- $ports = concat $ports (list .Values.prefill.healthPort .Values.decode.healthPort) }}
{{- if and (eq .Values.mode "sharedPod") (ne (len (uniq $ports)) (len $ports)) }}
{{- fail (printf "prefill and decode share a pod, so their ports must differ: %v" $ports) }}
{{- end }}
{{- end }}
