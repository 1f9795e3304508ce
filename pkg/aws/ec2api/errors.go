package ec2api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/smithy-go"
)

// Kind is what sort of failure an Error is.
type Kind string

// The kinds.
const (
	Throttled   Kind = "throttled"   // too many calls, also after all the retries
	Denied      Kind = "denied"      // IAM does not allow the action
	NotFound    Kind = "not-found"   // what the call names does not exist, or not yet
	Duplicate   Kind = "duplicate"   // what the call would make exists
	InUse       Kind = "in-use"      // something still refers to it
	Moved       Kind = "moved"       // it is no longer what it was read as: read it again
	Limit       Kind = "limit"       // a quota
	Credentials Kind = "credentials" // there are none, or AWS does not take them
	Unreachable Kind = "unreachable" // no answer
	Refused     Kind = "refused"     // any other answer that is an error
	Malformed   Kind = "malformed"   // an answer that is not to be understood
)

// Error is a call that failed.
type Error struct {
	Kind    Kind
	Action  string // "ec2:DescribeInstances"
	Region  string
	Role    string // that was assumed for it; "" for none
	Code    string // AWS's, "UnauthorizedOperation"; "" if there was no answer
	Message string // AWS's, or what stood in the way
	Needs   string // the IAM action that was denied, where that is another one than Action
	Err     error  // what the SDK said; may be nil
}

// Unwrap returns what the SDK said.
func (e *Error) Unwrap() error { return e.Err }

// Error says what was attempted where, what came of it, and what to do.
func (e *Error) Error() string {
	as := ""
	if e.Role != "" {
		as = fmt.Sprintf(" as %s", e.Role)
	}
	what := e.Message
	if e.Code != "" {
		what = strings.TrimSuffix(fmt.Sprintf("%s: %s", e.Code, e.Message), ": ")
	}
	head := fmt.Sprintf("%s in region %q%s: ", e.Action, e.Region, as)
	switch e.Kind {
	case Denied:
		resource := "*"
		if e.Action == assumeRole.Name {
			resource = e.Role
			return head + fmt.Sprintf("denied (%s); the role's trust policy must name the caller, and the caller needs at least the IAM policy %s", what, leastPolicy(e.Action, resource))
		}
		return head + fmt.Sprintf("denied (%s); the least IAM policy that allows it is %s", what, leastPolicy(cmp.Or(e.Needs, e.Action), resource))
	case Throttled:
		return head + fmt.Sprintf("AWS still answers that there are too many calls, after %d tries (%s); other programs of the account may be drawing on the same limit", maxAttempts, what)
	case Credentials:
		hint := "they are looked for in the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE), in ~/.aws, and at the container's or the instance's role"
		switch {
		case e.Code == "AuthFailure" || e.Code == "UnrecognizedClientException" || e.Code == "InvalidClientTokenId" || e.Code == "OptInRequired":
			hint = "are they right, and is the region enabled for the account?"
		case strings.Contains(e.Code, "Expired"):
			hint = "they have expired; get new ones"
		}
		return head + fmt.Sprintf("no credentials that AWS takes (%s); %s", what, hint)
	}
	return head + what
}

// KindOf is the kind of an error of this package; "" for any other.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

// CodeOf is AWS's own code of an error of this package; "" for any other.
func CodeOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// classes says what AWS's codes mean
// (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html).
var classes = []struct {
	kind  Kind
	codes []string
}{
	{Throttled, []string{"RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException", "EC2ThrottledException", "RequestThrottled", "SlowDown"}},
	{Denied, []string{"UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "Client.UnauthorizedOperation"}},
	{Credentials, []string{
		"AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "InvalidSignatureException",
		"ExpiredToken", "ExpiredTokenException", "RequestExpired", "MissingAuthenticationToken", "MissingAuthenticationTokenException",
		"IncompleteSignature", "OptInRequired", "PendingVerification", "InvalidAccessKeyId",
	}},
	{InUse, []string{"DependencyViolation", "ResourceConflictException", "ResourceInUseException"}},
	{Moved, []string{"PreconditionFailedException", "PrefixListVersionMismatch", "IncorrectState"}},
	{Limit, []string{"RulesPerSecurityGroupLimitExceeded", "SecurityGroupsPerInterfaceLimitExceeded", "SecurityGroupLimitExceeded", "TagLimitExceeded", "SecurityGroupsPerInstanceLimitExceeded"}},
	{NotFound, []string{"ResourceNotFoundException"}},
}

func kindOfCode(code string) Kind {
	for _, c := range classes {
		if slices.Contains(c.codes, code) {
			return c.kind
		}
	}
	switch {
	case strings.HasSuffix(code, ".NotFound") || strings.HasSuffix(code, ".Malformed"):
		return NotFound
	case strings.HasSuffix(code, ".Duplicate"):
		return Duplicate
	}
	return Refused
}

// fail makes an Error of what the SDK said of a call.
func (c *Client) fail(ctx context.Context, a Action, err error) error {
	e := &Error{Kind: Unreachable, Action: a.Name, Region: c.opt.Region, Role: c.opt.Role, Err: err}
	// The innermost operation is what failed: a read whose role could not be assumed never
	// reached EC2.
	var op *smithy.OperationError
	for at := err; errors.As(at, &op); at = op.Err {
		e.Action = strings.ReplaceAll(strings.ToLower(op.ServiceID), " ", "") + ":" + strings.TrimSuffix(op.OperationName, "20150331")
	}
	var api smithy.APIError
	var dns *net.DNSError
	var bad *badAnswer
	switch {
	case errors.As(err, &api):
		e.Code, e.Message, e.Kind = api.ErrorCode(), plainMessage(api.ErrorMessage()), kindOfCode(api.ErrorCode())
		// Said of an interface that is a service's, whatever the caller may do
		// (cloud-custodian issue 3406): neither credentials nor IAM are to blame.
		if a.Write && e.Code == "AuthFailure" {
			e.Kind = Refused
		}
		// Lambda asks EC2 whether a group is there, which may not know of a new one yet.
		if e.Code == "InvalidParameterValueException" && strings.Contains(e.Message, "InvalidGroup.NotFound") {
			e.Kind = NotFound
		}
		// A call can need two actions: to make a group with tags is refused for want of
		// ec2:CreateTags, and the policy that allows CreateSecurityGroup would not help.
		if m := deniedAction.FindStringSubmatch(e.Message); e.Kind == Denied && m != nil && m[1] != e.Action {
			e.Needs = m[1]
		}
		if m := deniedByEC2.FindStringSubmatch(e.Message); e.Kind == Denied && m != nil {
			e.Needs = "ec2:" + m[1]
		}
	case ctx.Err() != nil:
		e.Message = "no complete answer in time"
	case errors.As(err, &bad):
		e.Kind, e.Message = Malformed, bad.Error()
	case errors.As(err, &dns) && dns.IsNotFound:
		e.Message = fmt.Sprintf("there is no host %q; is there a region %q?", dns.Name, c.opt.Region)
	default:
		e.Message = innermost(err)
	}
	return e
}

// deniedAction is how IAM names what it denies, whatever the service (IAM user guide,
// "Troubleshoot access denied error messages").
var deniedAction = regexp.MustCompile(`is not authorized to perform: ([a-z0-9-]+:[A-Za-z0-9]+)`)

// deniedByEC2 is how Lambda names what EC2 denied the caller.
var deniedByEC2 = regexp.MustCompile(`denied by EC2, .* permission to (Describe[A-Za-z]+) for`)

// plainMessage leaves out the encoded explanation that EC2 appends to a denial: some
// hundred letters that only sts:DecodeAuthorizationMessage can read.
func plainMessage(s string) string {
	head, _, _ := strings.Cut(s, " Encoded authorization failure message:")
	return strings.TrimSpace(head)
}

// innermost is the last error of a chain: the SDK's own layers say nothing that the
// Error does not.
func innermost(err error) string {
	var url *net.OpError
	if errors.As(err, &url) {
		return url.Error()
	}
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err.Error()
		}
		err = next
	}
}

// malformed is an answer that holds something that is not to be understood.
func (c *Client) malformed(a Action, format string, args ...any) error {
	return &Error{Kind: Malformed, Action: a.Name, Region: c.opt.Region, Role: c.opt.Role, Message: "the answer " + fmt.Sprintf(format, args...)}
}

// parser reads addresses of an answer and keeps the first mistake.
type parser struct{ bad string }

func (p *parser) addr(s, of string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		p.fault(s, of)
		return netip.Addr{}, false
	}
	return a, true
}

func (p *parser) prefix(s, of string) (netip.Prefix, bool) {
	x, err := netip.ParsePrefix(s)
	if err != nil || x.Addr().Is4In6() {
		p.fault(s, of)
		return netip.Prefix{}, false
	}
	return x.Masked(), true
}

func (p *parser) fault(s, of string) {
	if p.bad == "" {
		p.bad = fmt.Sprintf("gives %q, which is no address or prefix, for %q", s, of)
	}
}
