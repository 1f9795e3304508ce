package awstest

import (
	"fmt"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// principal is who makes a call.
type principal struct {
	arn, account, id string
	allow            []string // actions, as "ec2:Describe*"
	role             bool     // a session of a role
}

type accessKey struct {
	id, secret string
	token      string    // of a session; "" for a user's own key
	expires    time.Time // of a session
	who        principal
}

// Key is an access key.
type Key struct{ ID, Secret string }

// AddKey makes a user with an access key that allows the actions, which are written as
// in a policy: "ec2:*", "ec2:Describe*", "sts:AssumeRole", "lambda:ListFunctions".
// What is not allowed is refused as IAM refuses it.
func (a Account) AddKey(user string, allow ...string) Key {
	defer a.w.lock()()
	a.w.made["key"]++
	h := a.w.hash("key", a.w.made["key"])
	k := &accessKey{
		id: "AKIA" + strings.ToUpper(h[:16]), secret: h[16:56],
		who: principal{arn: "arn:aws:iam::" + a.ID + ":user/" + user, account: a.ID, id: "AIDA" + strings.ToUpper(h[24:41]), allow: allow},
	}
	a.w.keys[k.id] = k
	return Key{ID: k.id, Secret: k.secret}
}

// allows reports whether the actions that are allowed include this one of a service.
func (p principal) allows(action string) bool {
	return slices.ContainsFunc(p.allow, func(pattern string) bool {
		ok, err := path.Match(pattern, action)
		return ok && err == nil
	})
}

// caller is what the Authorization header says.
type caller struct {
	service, region string
	key             *accessKey
}

// The form of the header (Signature Version 4).
var authForm = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([A-Z0-9]{16,32})/([0-9]{8})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$`)

// authenticate finds who calls which service in which region. The service is known as
// far as the header could be read, even with an error: the error's form depends on it.
func (w *World) authenticate(req *http.Request, body []byte) (caller, error) {
	header := req.Header.Get("Authorization")
	if header == "" {
		return caller{service: "ec2"}, refuse("MissingAuthenticationToken", "Request is missing Authentication Token")
	}
	m := authForm.FindStringSubmatch(header)
	if m == nil {
		return caller{service: "ec2"}, refuse("IncompleteSignature", "The request signature does not conform to AWS standards: %q", header)
	}
	c := caller{region: m[3], service: m[4]}
	date := req.Header.Get("X-Amz-Date")
	if !strings.HasPrefix(date, m[2]+"T") || len(date) != len("20060102T150405Z") {
		return c, refuse("SignatureDoesNotMatch", "Date in Credential scope does not match the date %q of the request", date)
	}
	for _, h := range []string{"host", "x-amz-date"} {
		if !slices.Contains(strings.Split(m[5], ";"), h) {
			return c, refuse("IncompleteSignature", "The header %s must be signed", h)
		}
	}
	key := w.keys[m[1]]
	token := req.Header.Get("X-Amz-Security-Token")
	switch {
	case key == nil || key.token != token:
		return c, refuse(inService(c.service, "AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException"),
			"AWS was not able to validate the provided access credentials")
	case key.signed(req, body, date, c.region, c.service, m[5]) != m[6]:
		return c, refuse(inService(c.service, "AuthFailure", "SignatureDoesNotMatch", "InvalidSignatureException"),
			"The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.")
	case key.token != "" && !w.now().Before(key.expires):
		return c, refuse(inService(c.service, "RequestExpired", "ExpiredToken", "ExpiredTokenException"),
			"The security token included in the request is expired")
	case w.regions[c.region] == nil && c.service != "sts":
		return c, refuse("AuthFailure", "Credential should be scoped to a valid region. '%s' is not a valid region.", c.region)
	case w.accounts[key.who.account].disabled[c.region]:
		return c, refuse("AuthFailure", "AWS was not able to validate the provided access credentials: the account has not opted into %s", c.region)
	}
	c.key = key
	return c, nil
}

// inService chooses among the names that services have for one thing.
func inService(service, ec2, sts, lambda string) string {
	switch service {
	case "sts", "autoscaling":
		return sts
	case "lambda":
		return lambda
	}
	return ec2
}

// denied is IAM's refusal in the words of the service.
func denied(service string, who principal, action, resource string) error {
	on := ""
	if resource != "" {
		on = " on resource: " + resource
	}
	text := fmt.Sprintf("User: %s is not authorized to perform: %s%s because no identity-based policy allows the %s action", who.arn, action, on, action)
	switch service {
	case "ec2":
		return refuse("UnauthorizedOperation", "You are not authorized to perform this operation. %s", text)
	case "lambda":
		return refuse("AccessDeniedException", "%s", text)
	}
	return refuse("AccessDenied", "%s", text)
}
