// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MutualTLSRollout moves workloads from taking plaintext too to taking mutual TLS only,
// one stage after the other. A stage is made when no plaintext was seen at its
// workloads for a while and no client is known that would fail. Then failures are
// watched; where there are any, the stage is taken back, and no other is made until
// somebody says so. When a MutualTLSRollout is deleted, what it made stays as it is.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=trellis,shortName=mtr
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="the name of a MutualTLSRollout has at most 63 characters: it is a label of what is generated"
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Done",type=string,JSONPath=`.status.done`
// +kubebuilder:printcolumn:name="Stage",type=string,JSONPath=`.status.stage`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type MutualTLSRollout struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec MutualTLSRolloutSpec `json:"spec"`
	// +optional
	Status MutualTLSRolloutStatus `json:"status,omitempty"`
}

// MutualTLSRolloutList is a list of MutualTLSRollouts.
//
// +kubebuilder:object:root=true
type MutualTLSRolloutList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MutualTLSRollout `json:"items"`
}

// MutualTLSRolloutSpec is what is to take mutual TLS only, and how carefully.
type MutualTLSRolloutSpec struct {
	// Namespaces are those whose workloads are to take mutual TLS only.
	//
	// +required
	Namespaces RolloutNamespaces `json:"namespaces"`
	// Stage is what one stage is about; absent: Service.
	//
	// +optional
	Stage RolloutStageKind `json:"stage,omitempty"`
	// Observation says how traffic is looked at.
	//
	// +required
	Observation RolloutObservation `json:"observation"`
	// Paused stops it: no stage is made. What was made is still watched, and taken back
	// where clients fail.
	//
	// +optional
	Paused bool `json:"paused,omitempty"`
	// DryRun makes no stage, and says in status what would be made and what blocks it.
	//
	// +optional
	DryRun bool `json:"dryRun,omitempty"`
}

// RolloutNamespaces chooses namespaces by name or by label.
//
// +kubebuilder:validation:XValidation:rule="has(self.names) != has(self.selector)",message="exactly one of names and selector"
type RolloutNamespaces struct {
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	Names []string `json:"names,omitempty"`
	// Selector selects by the labels of namespaces; the empty one selects all.
	//
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// RolloutStageKind is what one stage of a rollout is about.
//
// +kubebuilder:validation:Enum=Service;Namespace
type RolloutStageKind string

// The kinds of stages.
const (
	// StageService is the workloads of one Service.
	StageService RolloutStageKind = "Service"
	// StageNamespace is all workloads of a namespace.
	StageNamespace RolloutStageKind = "Namespace"
)

// RolloutObservation says where it is seen who sends what, and for how long one looks.
type RolloutObservation struct {
	// Source is where it is seen.
	//
	// +required
	Source ObservationSource `json:"source"`
	// Window is how long no plaintext may have been seen at a workload before its stage
	// is made. It begins when looking begins, not before the rollout was made, and anew
	// after an interruption of more than a minute, or than a quarter of the window where that is less. Clients that
	// call less often than this are not seen.
	//
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(h|m|s)){1,3}$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('168h')",message="the window is between 1s and 168h"
	Window metav1.Duration `json:"window"`
	// Soak is how long failures are watched after a stage before the next one is made.
	//
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(h|m|s)){1,3}$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('168h')",message="the soak is between 1s and 168h"
	Soak metav1.Duration `json:"soak"`
	// Silence says what becomes of a stage at which no request at all was seen in the
	// window; absent: Wait. Perhaps nobody calls, and perhaps its proxies do not say.
	//
	// +optional
	Silence RolloutSilence `json:"silence,omitempty"`
}

// RolloutSilence says what follows where nothing was seen.
//
// +kubebuilder:validation:Enum=Wait;Proceed
type RolloutSilence string

// What may follow.
const (
	// SilenceWait blocks the stage until requests are seen.
	SilenceWait RolloutSilence = "Wait"
	// SilenceProceed takes it that nobody calls.
	SilenceProceed RolloutSilence = "Proceed"
)

// ObservationSource is where traffic is seen.
//
// +kubebuilder:validation:XValidation:rule="has(self.accessLogs) != has(self.prometheus)",message="exactly one of accessLogs and prometheus"
type ObservationSource struct {
	// AccessLogs are those that the proxies send to trellis-server. They name every client,
	// and also the ones that a workload refuses.
	//
	// +optional
	AccessLogs *AccessLogSource `json:"accessLogs,omitempty"`
	// Prometheus holds Istio's standard metrics. Clients without a proxy have no name in
	// them, and connections that a workload refuses are not counted.
	//
	// +optional
	Prometheus *PrometheusSource `json:"prometheus,omitempty"`
}

// AccessLogSource is trellis-server: there is nothing to choose.
type AccessLogSource struct{}

// PrometheusSource is an HTTP API such as Prometheus has.
type PrometheusSource struct {
	// URL is the part before /api/v1.
	//
	// +required
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHost() != '' && !self.contains('@')",message="it is an http or https URL with a host and without credentials"
	URL string `json:"url"`
}

// What marks the PeerAuthentications that a rollout made: RolloutManager in the label
// app.kubernetes.io/managed-by, which is not that of what Trellis compiles, and the
// name of the MutualTLSRollout in RolloutLabel.
const (
	RolloutManager = "trellis-rollout"
	RolloutLabel   = "trellis.dev/rollout"
)

// RolloutPhase is where a rollout is.
type RolloutPhase string

// The phases.
const (
	// RolloutWaiting: what is needed is not known yet, or has not been seen for long
	// enough.
	RolloutWaiting RolloutPhase = "Waiting"
	// RolloutWatching: a stage was made, and failures are watched.
	RolloutWatching RolloutPhase = "Watching"
	// RolloutBlocked: clients stand in the way of all stages that are left.
	RolloutBlocked RolloutPhase = "Blocked"
	// RolloutPaused: somebody said so.
	RolloutPaused RolloutPhase = "Paused"
	// RolloutSteppedBack: a stage was taken back, and no other is made.
	RolloutSteppedBack RolloutPhase = "SteppedBack"
	// RolloutComplete: everything takes mutual TLS only.
	RolloutComplete RolloutPhase = "Complete"
)

// MutualTLSRolloutStatus is how far it is.
type MutualTLSRolloutStatus struct {
	// ObservedGeneration is the generation that this status is about.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Phase is where it is: Waiting, Watching, Blocked, Paused, SteppedBack or Complete.
	//
	// +optional
	Phase RolloutPhase `json:"phase,omitempty"`
	// Done is how many stages are done, of how many: 3/10.
	//
	// +optional
	Done string `json:"done,omitempty"`
	// Stage is the name of the one that is watched, was taken back, or comes next.
	//
	// +optional
	Stage string `json:"stage,omitempty"`
	// Retried is the last text of the annotation trellis.dev/retry that was followed.
	//
	// +optional
	Retried string `json:"retried,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Observation is since when traffic has been seen.
	//
	// +optional
	Observation *ObservationStatus `json:"observation,omitempty"`
	// Stages are those that were made or are left, in order; at most 512.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	Stages []RolloutStage `json:"stages,omitempty"`
}

// ObservationStatus is since when, and until when, traffic was seen without a gap.
type ObservationStatus struct {
	// +required
	From metav1.Time `json:"from"`
	// +required
	To metav1.Time `json:"to"`
	// Problem is why nothing is seen now; empty where something is.
	//
	// +optional
	Problem string `json:"problem,omitempty"`
}

// RolloutStagePhase is where a stage is.
type RolloutStagePhase string

// The phases of a stage.
const (
	// StagePending: its turn has not come, or its workloads have not been seen for long
	// enough.
	StagePending RolloutStagePhase = "Pending"
	// StageBlocked: clients or policies stand in its way.
	StageBlocked RolloutStagePhase = "Blocked"
	// StageWatching: it was made, and failures are watched.
	StageWatching RolloutStagePhase = "Watching"
	// StageDone: its workloads take mutual TLS only.
	StageDone RolloutStagePhase = "Done"
	// StageSteppedBack: it was made and taken back.
	StageSteppedBack RolloutStagePhase = "SteppedBack"
)

// RolloutStage is one stage and how far it is.
type RolloutStage struct {
	// Name is NAMESPACE/SERVICE, or NAMESPACE where a stage is a whole namespace.
	//
	// +required
	Name string `json:"name"`
	// Phase is Pending, Blocked, Watching, Done or SteppedBack.
	//
	// +required
	Phase RolloutStagePhase `json:"phase"`
	// PeerAuthentication is the one that was made for it, as NAMESPACE/NAME; absent where
	// none was needed or made.
	//
	// +optional
	PeerAuthentication string `json:"peerAuthentication,omitempty"`
	// Selector are the labels of the pods that it is for; absent: all of the namespace.
	//
	// +optional
	Selector map[string]string `json:"selector,omitempty"`
	// Services are those whose workloads it is about, as NAMESPACE/NAME; none of a whole
	// namespace with more than 16.
	//
	// +optional
	// +listType=atomic
	Services []string `json:"services,omitempty"`
	// ListedAt is when it came to the stages of a rollout that had others, or came to be
	// about other pods: its window begins then, since its proxies may be as new.
	//
	// +optional
	ListedAt *metav1.Time `json:"listedAt,omitempty"`
	// MadeAt, DoneAt and SteppedBackAt are when that was.
	//
	// +optional
	MadeAt *metav1.Time `json:"madeAt,omitempty"`
	// +optional
	DoneAt *metav1.Time `json:"doneAt,omitempty"`
	// +optional
	SteppedBackAt *metav1.Time `json:"steppedBackAt,omitempty"`
	// FailedRequests are those that failed for want of mutual TLS since it was made.
	//
	// +optional
	FailedRequests int64 `json:"failedRequests,omitempty"`
	// Blocks are what stands in its way, or what made it step back; at most 16.
	//
	// +optional
	// +listType=atomic
	Blocks []RolloutBlock `json:"blocks,omitempty"`
	// MoreBlocks counts the others.
	//
	// +optional
	MoreBlocks int32 `json:"moreBlocks,omitempty"`
}

// RolloutBlock is what stands in the way of a stage.
type RolloutBlock struct {
	// Reason is PlaintextSeen, Failed, Conflict, Policy or NothingSeen.
	//
	// +required
	Reason string `json:"reason"`
	// Client is the one that it is about, as NAMESPACE/NAME or as an address.
	//
	// +optional
	Client string `json:"client,omitempty"`
	// Port is that at the workload or of its Service.
	//
	// +optional
	Port int32 `json:"port,omitempty"`
	// Count is how many requests were seen of it, and LastSeen when the last one was.
	//
	// +optional
	Count int64 `json:"count,omitempty"`
	// +optional
	LastSeen *metav1.Time `json:"lastSeen,omitempty"`
	// Message says what is wrong and why.
	//
	// +required
	Message string `json:"message"`
	// Fix says what to do, and where.
	//
	// +optional
	Fix string `json:"fix,omitempty"`
}

// The reasons of blocks.
const (
	// BlockPlaintextSeen: it called in plaintext.
	BlockPlaintextSeen = "PlaintextSeen"
	// BlockFailed: its requests failed after the stage was made.
	BlockFailed = "Failed"
	// BlockConflict: what it is configured to send would not be taken.
	BlockConflict = "Conflict"
	// BlockPolicy: a PeerAuthentication of somebody else decides.
	BlockPolicy = "Policy"
	// BlockNothingSeen: no request was seen, so that it is not known whether its
	// proxies say what they see.
	BlockNothingSeen = "NothingSeen"
)
