{{/* SPDX-License-Identifier: Apache-2.0
The three configs in the services' own text format. Values mirror the messages of config.proto, so
one recursion renders them all: a map is a message, a string an enum's name, a number a number, a
list of numbers a repeated field. */}}

{{- define "tandem.message" -}}
{{- range $name, $value := . }}
{{- if kindIs "map" $value }}
{{ $name }} {
{{- include "tandem.message" $value | trim | nindent 2 }}
}
{{- else if kindIs "string" $value }}
{{ $name }}: {{ $value }}
{{- else if kindIs "slice" $value }}
{{ $name }}: {{ toJson $value }}
{{- else if not (kindIs "invalid" $value) }}
{{ $name }}: {{ int64 $value }}
{{- end }}
{{- end }}
{{- end }}

{{- define "tandem.modelDir" -}}
{{- if eq .Values.model.source "embedded" -}}
/opt/tandem/models/tiny-v4
{{- else -}}
{{ printf "/models/%s" .Values.model.folder | trimSuffix "/" }}
{{- end -}}
{{- end }}

{{- /* listen, metrics_listen, model: (dict "root" $ "role" "decode"). */ -}}
{{- define "tandem.common" -}}
{{- $values := index .root.Values .role }}
listen: "{{ .root.Values.listenHost }}:{{ int $values.port }}"
metrics_listen: "{{ .root.Values.listenHost }}:{{ int $values.metricsPort }}"
model_dir: "{{ include "tandem.modelDir" .root }}"
{{- with .root.Values.model.name }}
model_name: "{{ . }}"
{{- end }}
{{- include "tandem.listenTls" . }}
{{- end }}

{{- /* Whether a process speaks TLS on its port: "yes" or "". */ -}}
{{- define "tandem.tls" -}}
{{- $tls := .root.Values.tls -}}
{{- if (eq .role "router" | ternary $tls.router $tls.workers).secretName -}}
yes
{{- end -}}
{{- end }}

{{- /* One Tls message, of a folder of certificates: (dict "field" "tls" "folder" "tls" "ca" true). */ -}}
{{- define "tandem.certificates" }}
{{ .field }} {
  cert_file: "/etc/tandem/{{ .folder }}/tls.crt"
  key_file: "/etc/tandem/{{ .folder }}/tls.key"
  {{- if .ca }}
  ca_file: "/etc/tandem/{{ .folder }}/ca.crt"
  {{- end }}
}
{{- end }}

{{- /* The side that listens, and where probes ask then. */ -}}
{{- define "tandem.listenTls" -}}
{{- if include "tandem.tls" . }}
{{- $router := eq .role "router" }}
{{- $ca := $router | ternary .root.Values.tls.router.clientCertificates true }}
{{- $folder := $router | ternary "tls" "pod-tls" }}
{{- include "tandem.certificates" (dict "field" "tls" "folder" $folder "ca" $ca) }}
health_listen: "{{ .root.Values.listenHost }}:{{ int (index .root.Values .role).healthPort }}"
{{- end }}
{{- end }}

{{- /* The side that connects: (dict "root" $ "field" "worker_tls"). */ -}}
{{- define "tandem.connectTls" -}}
{{- if .root.Values.tls.workers.secretName }}
{{- include "tandem.certificates" (dict "field" .field "folder" "pod-tls" "ca" true) }}
{{- end }}
{{- end }}

{{- /* The workers' addresses, as a JSON list: a pod of a StatefulSet has a name that stays.
(dict "root" $ "role" "decode") */ -}}
{{- define "tandem.endpoints" -}}
{{- $pods := ternary "sharedPod" .role (eq .root.Values.mode "sharedPod") }}
{{- $set := printf "%s-%s" (include "tandem.fullname" .root) (include "tandem.component" (dict "role" $pods)) }}
{{- $domain := printf "%s.%s.svc.%s" $set .root.Release.Namespace .root.Values.clusterDomain }}
{{- $port := int (index .root.Values .role).port }}
{{- $out := list }}
{{- range $i := until (int (include "tandem.replicasMax" (dict "root" .root "role" $pods))) }}
{{- $out = append $out (printf "%s-%d.%s:%d" $set $i $domain $port) }}
{{- end }}
{{- toJson $out }}
{{- end }}

{{- /* The worker's side of registration; a rendering without an endpoint is for a checksum.
(dict "root" $ "endpoint" "host:port") */ -}}
{{- define "tandem.registration" -}}
{{- if .root.Values.registration.enabled }}
{{- $service := printf "%s-registry.%s.svc" (include "tandem.fullname" .root) .root.Release.Namespace }}
registration {
  routers: "{{ $service }}.{{ .root.Values.clusterDomain }}:{{ int .root.Values.registration.port }}"
  endpoint: "{{ .endpoint }}"
  {{- with include "tandem.connectTls" (dict "root" .root "field" "tls") | trim }}
  {{- . | nindent 2 }}
  {{- end }}
}
{{- end }}
{{- end }}

{{- define "tandem.config.router" -}}
{{- include "tandem.common" (dict "root" . "role" "router") }}
{{- if .Values.registration.enabled }}
registry {
  listen: "{{ .Values.listenHost }}:{{ int .Values.registration.port }}"
  worker_ttl {
    seconds: {{ int .Values.registration.ttlSeconds }}
  }
  {{- with include "tandem.connectTls" (dict "root" . "field" "tls") | trim }}
  {{- . | nindent 2 }}
  {{- end }}
}
{{- else }}
{{- range include "tandem.endpoints" (dict "root" . "role" "prefill") | fromJsonArray }}
prefill_workers: "{{ . }}"
{{- end }}
{{- range include "tandem.endpoints" (dict "root" . "role" "decode") | fromJsonArray }}
decode_workers: "{{ . }}"
{{- end }}
{{- end }}
{{- include "tandem.connectTls" (dict "root" . "field" "worker_tls") }}
{{- if .Values.apiKeys.secretName }}
api_keys_file: "/etc/tandem/api-keys/keys"
{{- end }}
{{- include "tandem.message" .Values.router.config }}
{{- end }}

{{- /* "yes" or "": one copy of the weights for both workers of a pod. They compute on the same GPUs
in the same way, and nobody has said whose weights they have. */ -}}
{{- define "tandem.sharesWeights" -}}
{{- $prefill := .Values.prefill.config.worker | default dict }}
{{- $decode := .Values.decode.config.worker | default dict }}
{{- $own := or (hasKey $prefill "weights") (hasKey $decode "weights") }}
{{- $same := true }}
{{- range list "device" "gpu" "tensor_parallel" "load_format" }}
{{- $same = and $same (eq (get $prefill . | toString) (get $decode . | toString)) }}
{{- end }}
{{- $cuda := eq (get $prefill "device" | toString) "DEVICE_CUDA" }}
{{- if and (eq .Values.mode "sharedPod") $cuda $same (not $own) -}}
yes
{{- end -}}
{{- end }}

{{- /* What the values say of a worker: (dict "root" $ "role" "decode"). */ -}}
{{- define "tandem.worker" -}}
{{- $fields := ternary (dict "weights" "WEIGHTS_SHARED") (dict) (eq (include "tandem.sharesWeights" .root) "yes") }}
{{- include "tandem.message" (merge $fields ((index .root.Values .role).config.worker | default dict)) }}
{{- end }}

{{- /* (dict "root" $ "endpoint" "host:port"): each worker tells its own address. */ -}}
{{- define "tandem.config.prefill" }}
{{- $values := .root.Values }}
worker {
{{- include "tandem.common" (dict "root" .root "role" "prefill") | trim | nindent 2 }}
{{- include "tandem.worker" (dict "root" .root "role" "prefill") | trim | nindent 2 }}
{{- with include "tandem.registration" . | trim }}
{{- . | nindent 2 }}
{{- end }}
}
{{- include "tandem.connectTls" (dict "root" .root "field" "decode_tls") }}
{{- $kind := ternary "KV_CHANNEL_KIND_SHARED" "KV_CHANNEL_KIND_GRPC" (eq $values.mode "sharedPod") }}
{{- $default := dict "kv_channel_kind" $kind }}
{{- include "tandem.message" (merge (omit $values.prefill.config "worker") $default) }}
{{- range include "tandem.endpoints" (dict "root" .root "role" "decode") | fromJsonArray }}
decode_workers_allowed: "{{ . }}"
{{- end }}
{{- end }}

{{- define "tandem.config.decode" }}
worker {
{{- include "tandem.common" (dict "root" .root "role" "decode") | trim | nindent 2 }}
{{- include "tandem.worker" (dict "root" .root "role" "decode") | trim | nindent 2 }}
{{- with include "tandem.registration" . | trim }}
{{- . | nindent 2 }}
{{- end }}
}
endpoint: "{{ .endpoint }}"
{{- include "tandem.message" (omit .root.Values.decode.config "worker") }}
{{- end }}
