package ec2api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	"golang.org/x/time/rate"
)

// Measured against an endpoint with AWS's buckets, eight workers, 160 calls: with the
// SDK's three tries one fails, with ten none does, and neither takes longer.
const (
	maxAttempts   = 10
	answerTimeout = 30 * time.Second // for the beginning of an answer; a dead connection is tried again
)

// Options say which account and region to speak to. Credentials are found by the SDK's
// default chain, and never are in here.
type Options struct {
	Region string
	// Role is the ARN of a role to assume; "" is the credentials' own identity. ExternalID
	// is what its trust policy may ask for.
	Role, ExternalID string
	Profile          string // of ~/.aws/config; "" leaves it to AWS_PROFILE
	Endpoint         string // URL of an emulator of all the services; "" is AWS, or AWS_ENDPOINT_URL
	// HTTP makes the requests; nil is a client of the SDK's kind. For tests.
	HTTP *http.Client
	// MaxBackoff is the longest pause between two tries of a call; 0 is 20 s.
	MaxBackoff time.Duration
}

// Client speaks to one account in one region. It is safe for several goroutines. Clients
// of the same account and region share the limits of their actions.
type Client struct {
	opt       Options
	cfg       aws.Config
	transport *http.Transport // nil if it is not ours to close
	ec2       *ec2.Client
	lambda    *lambda.Client
	scaling   *autoscaling.Client
	sts       *sts.Client
}

// Open makes a client. Nothing is asked of AWS yet; a profile that does not exist is an
// *Error of kind Credentials. Close the client when it is no longer needed.
func Open(ctx context.Context, opt Options) (*Client, error) {
	c := &Client{opt: opt}
	load := []func(*config.LoadOptions) error{
		config.WithRegion(opt.Region),
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.MaxAttempts = maxAttempts
				if opt.MaxBackoff > 0 {
					o.MaxBackoff = opt.MaxBackoff
				}
			})
		}),
		config.WithAppID("bulkhead"),
		config.WithAPIOptions([]func(*middleware.Stack) error{addComplete}),
		config.WithLogger(logging.Nop{}), // what matters is an error; the rest would be told to an operator who did not ask
	}
	if opt.Profile != "" {
		load = append(load, config.WithSharedConfigProfile(opt.Profile))
	}
	if opt.Endpoint != "" {
		load = append(load, config.WithBaseEndpoint(opt.Endpoint))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		what := err.Error()
		if opt.Profile != "" {
			what = fmt.Sprintf("profile %q: %s", opt.Profile, what)
		}
		return nil, &Error{Kind: Credentials, Action: "load AWS configuration", Region: opt.Region, Role: opt.Role, Message: what, Err: err}
	}
	// An own transport, so that Close can end its connections, and one that gives no answer
	// is given up; made from the SDK's, which has what AWS_CA_BUNDLE names. Where that is not
	// set the SDK leaves the client to each service, and there is none here yet.
	if opt.HTTP != nil {
		cfg.HTTPClient = opt.HTTP
	} else {
		b, ok := cfg.HTTPClient.(*awshttp.BuildableClient)
		if !ok {
			b = awshttp.NewBuildableClient()
		}
		c.transport = b.GetTransport()
		c.transport.ResponseHeaderTimeout = answerTimeout
		cfg.HTTPClient = &http.Client{Transport: c.transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // the APIs do not redirect; whoever does is not one
		}}
	}
	if opt.Role != "" {
		provider := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), opt.Role, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = "bulkhead"
			if opt.ExternalID != "" {
				o.ExternalID = &opt.ExternalID
			}
		})
		cfg.Credentials = aws.NewCredentialsCache(provider)
	}
	c.cfg = cfg
	c.ec2, c.lambda, c.sts, c.scaling = ec2.NewFromConfig(cfg), lambda.NewFromConfig(cfg), sts.NewFromConfig(cfg), autoscaling.NewFromConfig(cfg)
	return c, nil
}

// Close ends the client's idle connections.
func (c *Client) Close() {
	if c.transport != nil {
		c.transport.CloseIdleConnections()
	}
}

// Region is the region that the client speaks to.
func (c *Client) Region() string { return c.opt.Region }

// Account asks for the number of the account that the client acts in.
func (c *Client) Account(ctx context.Context) (string, error) {
	var out *sts.GetCallerIdentityOutput
	err := c.call(ctx, getCallerIdentity, func() (err error) {
		out, err = c.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		return err
	})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.Account), nil
}

// RoleAccount is the number of the account that a role is in, by its ARN
// (arn:PARTITION:iam::ACCOUNT:role/NAME); "" if that is not the ARN of a role.
func RoleAccount(role string) string {
	p := strings.SplitN(role, ":", 6)
	if len(p) != 6 || p[0] != "arn" || !strings.HasPrefix(p[1], "aws") || p[2] != "iam" || p[3] != "" || !strings.HasPrefix(p[5], "role/") || len(p[5]) == len("role/") {
		return ""
	}
	if len(p[4]) != 12 || strings.Trim(p[4], "0123456789") != "" {
		return ""
	}
	return p[4]
}

// call makes one call within the limit of its action.
func (c *Client) call(ctx context.Context, a Action, do func() error) error {
	// Asked for apart, because a call does not tell why it could not be signed. They are
	// kept until they expire, so that this costs nothing.
	if _, err := c.cfg.Credentials.Retrieve(ctx); err != nil {
		e := c.fail(ctx, a, err).(*Error)
		if e.Code == "" && e.Kind == Unreachable && ctx.Err() == nil {
			e.Kind, e.Message = Credentials, credentialsMessage(err)
		}
		return e
	}
	if err := limits.of(&c.opt, a).Wait(ctx); err != nil {
		return &Error{Kind: Unreachable, Action: a.Name, Region: c.opt.Region, Role: c.opt.Role, Message: "no complete answer in time: the calls that it takes are more than its limit allows", Err: errors.Join(err, ctx.Err())}
	}
	if err := do(); err != nil {
		return c.fail(ctx, a, err)
	}
	return nil
}

// credentialsMessage leaves out the layers of the SDK.
func credentialsMessage(err error) string {
	s := err.Error()
	for _, p := range []string{"failed to refresh cached credentials, ", "get credentials: "} {
		if _, after, ok := strings.Cut(s, p); ok {
			s = after
		}
	}
	return s
}

// limits are the process's own, as AWS's are the account's: clients come and go, and a
// source and a driver may each have one for the same account and region.
var limits limiters

type limiters struct {
	mu sync.Mutex
	by map[string]*rate.Limiter
}

func (l *limiters) of(o *Options, a Action) *rate.Limiter {
	key := fmt.Sprintf("%q %q %q %q %s %p", o.Endpoint, o.Profile, o.Role, o.Region, a.Name, o.HTTP)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by == nil {
		l.by = map[string]*rate.Limiter{}
	}
	if l.by[key] == nil {
		l.by[key] = rate.NewLimiter(rate.Limit(a.Rate), a.Burst)
	}
	return l.by[key]
}

// list reads all the pages of a call.
func list[T any](ctx context.Context, c *Client, a Action, page func(token *string) ([]T, *string, error)) ([]T, error) {
	var out []T
	var token *string
	seen := map[string]bool{}
	for {
		var items []T
		var next *string
		err := c.call(ctx, a, func() (err error) {
			items, next, err = page(token)
			return err
		})
		if err != nil {
			return nil, err
		}
		out = append(out, items...)
		if aws.ToString(next) == "" {
			return out, nil
		}
		if seen[*next] {
			return nil, c.malformed(a, "leads from its page %d back to an earlier one", len(seen)+1)
		}
		seen[*next] = true
		token = next
	}
}
