// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DNSProvider is an account at a DNS vendor, or a name server, with the zones
// that may be written to. It lives beside the SecureIngresses that use it.
//
// +kubebuilder:validation:XValidation:rule="!self.metadata.name.contains('.')",message="the name of a DNSProvider is one DNS label, without dots: names of ManagedRecords are made from it"
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=trellis
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type DNSProvider struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec DNSProviderSpec `json:"spec"`
	// +optional
	Status DNSProviderStatus `json:"status,omitempty"`
}

// DNSProviderList is a list of DNSProviders.
//
// +kubebuilder:object:root=true
type DNSProviderList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []DNSProvider `json:"items"`
}

// DNSProviderSpec names the vendor and who we are to it.
//
// +kubebuilder:validation:XValidation:rule="[has(self.route53), has(self.rfc2136), has(self.azure), has(self.google), has(self.cloudflare)].filter(x, x).size() == 1",message="exactly one of route53, rfc2136, azure, google and cloudflare"
type DNSProviderSpec struct {
	// Zones are the ids of the zones that may be written to: a hosted zone's id, a
	// zone's name at a name server. Absent: all that the credentials can see.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	Zones []string `json:"zones,omitempty"`
	// Private looks for zones that are seen in some networks only, and for those
	// alone.
	//
	// +optional
	Private bool `json:"private,omitempty"`
	// Confirmed are the tokens of changes that were stopped since they would
	// delete or change a large part of a zone. A token is in status.confirm of the
	// ManagedRecords.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:Pattern=`^[0-9a-f]+$`
	Confirmed []string `json:"confirmed,omitempty"`

	// Route53 is Amazon Route 53.
	//
	// +optional
	Route53 *Route53Provider `json:"route53,omitempty"`
	// RFC2136 is any name server that takes dynamic updates.
	//
	// +optional
	RFC2136 *RFC2136Provider `json:"rfc2136,omitempty"`
	// Azure is Azure DNS.
	//
	// +optional
	Azure *AzureProvider `json:"azure,omitempty"`
	// Google is Google Cloud DNS.
	//
	// +optional
	Google *GoogleProvider `json:"google,omitempty"`
	// Cloudflare is Cloudflare DNS.
	//
	// +optional
	Cloudflare *CloudflareProvider `json:"cloudflare,omitempty"`
}

// SecretReference is a Secret in the same namespace. Its keys are those of the
// field that refers to it.
type SecretReference struct {
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// Route53Provider is an AWS account. Without a Secret it uses what the operator's
// pod has: a web identity (IRSA), a pod identity, an instance role. The operator
// says in which namespaces that is allowed.
//
// +kubebuilder:validation:XValidation:rule="!has(self.endpoint) || has(self.credentialsSecretRef)",message="endpoint needs credentialsSecretRef: the identity of the operator's pod is shown to Amazon's own addresses alone"
type Route53Provider struct {
	// CredentialsSecretRef has the keys accessKeyID and secretAccessKey.
	//
	// +optional
	CredentialsSecretRef *SecretReference `json:"credentialsSecretRef,omitempty"`
	// RoleARN is assumed with these credentials.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:Pattern=`^arn:[a-z-]+:iam::[0-9]{12}:role/.+$`
	RoleARN string `json:"roleARN,omitempty"`
	// Region is where roles are assumed. Absent: the pod's, or us-east-1.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^[a-z0-9-]+$`
	Region string `json:"region,omitempty"`
	// Endpoint replaces the address of Route 53, for private endpoints. It needs
	// credentialsSecretRef, and roles are assumed at Amazon's address all the same.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^https://`
	Endpoint string `json:"endpoint,omitempty"`
}

// RFC2136Provider is a name server that takes updates (RFC 2136).
type RFC2136Provider struct {
	// Server is the primary's host and port, always by TCP.
	//
	// +required
	// +kubebuilder:validation:MaxLength=260
	// +kubebuilder:validation:Pattern=`^.+:[0-9]{1,5}$`
	Server string `json:"server"`
	// Zones are the names of the zones there.
	//
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	Zones []string `json:"zones"`
	// TSIGSecretRef has the keys name, algorithm (hmac-sha256 or hmac-sha512) and
	// secret (base64), of RFC 8945. Absent: updates are not signed.
	//
	// +optional
	TSIGSecretRef *SecretReference `json:"tsigSecretRef,omitempty"`
	// NameServers are hosts and ports of the servers that the public asks; an
	// entry counts as there when all of them have it. Absent: the primary alone.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=260
	NameServers []string `json:"nameServers,omitempty"`
}

// AzureProvider is a subscription. Without a Secret it uses the pod's workload
// identity, or a managed identity, where the operator allows it.
type AzureProvider struct {
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	SubscriptionID string `json:"subscriptionID"`
	// ResourceGroup limits the zones that are seen.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=90
	ResourceGroup string `json:"resourceGroup,omitempty"`
	// Cloud; absent: AzurePublicCloud.
	//
	// +optional
	// +kubebuilder:validation:Enum=AzurePublicCloud;AzureChinaCloud;AzureUSGovernmentCloud
	Cloud string `json:"cloud,omitempty"`
	// TenantID and ClientID are of the application or managed identity.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	TenantID string `json:"tenantID,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ClientID string `json:"clientID,omitempty"`
	// CredentialsSecretRef has the key clientSecret.
	//
	// +optional
	CredentialsSecretRef *SecretReference `json:"credentialsSecretRef,omitempty"`
}

// GoogleProvider is a project. Without a Secret it uses the pod's workload
// identity, where the operator allows it.
type GoogleProvider struct {
	// Project has the zones. Absent: that of the credentials.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Project string `json:"project,omitempty"`
	// CredentialsSecretRef has the key key.json: a service account's key.
	//
	// +optional
	CredentialsSecretRef *SecretReference `json:"credentialsSecretRef,omitempty"`
}

// CloudflareProvider is what an API token can see.
type CloudflareProvider struct {
	// TokenSecretRef has the key token: an API token with Zone Read and DNS Write.
	//
	// +required
	TokenSecretRef SecretReference `json:"tokenSecretRef"`
}

// DNSProviderStatus is what is known of the account.
type DNSProviderStatus struct {
	// ObservedGeneration is that of the spec which the rest is about.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions: Ready.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Zones are those that may be written to, at most 64.
	//
	// +optional
	// +listType=atomic
	Zones []DNSZone `json:"zones,omitempty"`
}

// DNSZone is a zone of the account.
type DNSZone struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}
