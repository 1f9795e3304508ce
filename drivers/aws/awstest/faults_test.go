package awstest_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"bulkhead/drivers/aws/awstest"
)

func (e *estate) create(ctx context.Context, name string) (string, error) {
	out, err := e.ec2.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: &name, Description: aws.String("test"), VpcId: &e.vpc})
	if err != nil {
		return "", err
	}
	return *out.GroupId, nil
}

func (e *estate) allow(ctx context.Context, group string, ports ...int32) error {
	var ps []types.IpPermission
	for _, p := range ports {
		ps = append(ps, cidrs("tcp", p, p, "10.0.0.0/8"))
	}
	_, err := e.ec2.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &group, IpPermissions: ps})
	return err
}

func (e *estate) swap(ctx context.Context, nic string, groups ...string) error {
	_, err := e.ec2.ModifyNetworkInterfaceAttribute(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: &nic, Groups: groups})
	return err
}

func (e *estate) seen(t *testing.T, group string) int {
	t.Helper()
	out, err := e.ec2.DescribeSecurityGroups(t.Context(), &ec2.DescribeSecurityGroupsInput{GroupIds: []string{group}})
	if err != nil {
		t.Fatal(err)
	}
	return len(out.SecurityGroups[0].IpPermissions)
}

func TestFailures(t *testing.T) {
	e := newEstate(t)
	ctx := t.Context()
	e.w.FailNext("AuthorizeSecurityGroupIngress", "InternalError", 2)
	e.w.FailMutation(4, "DependencyViolation")
	wants(t, e.allow(ctx, e.group, 1), "InternalError")
	wants(t, e.allow(ctx, e.group, 1), "InternalError")
	wants(t, e.allow(ctx, e.group, 1), "")
	wants(t, e.allow(ctx, e.group, 2), "DependencyViolation")
	e.w.FailNext("", "Unavailable", 1)
	if n := e.seen(t, e.group); n != 1 { // a read is not what was meant
		t.Errorf("%d permissions", n)
	}
	_, err := e.create(ctx, "x")
	wants(t, err, "Unavailable")
	var codes []string
	for _, c := range e.w.Calls() {
		if c.Mutating {
			codes = append(codes, c.Code)
		}
	}
	if got := strings.Join(codes, ","); got != "InternalError,InternalError,,DependencyViolation,Unavailable" {
		t.Errorf("the log says %s", got)
	}
	if n := len(e.w.Mutations()); n != 1 || e.w.CountCalls("AuthorizeSecurityGroupIngress") != 4 {
		t.Errorf("%d were done", n)
	}
}

// A lost answer is of a call that was done, a lost request of one that was not; the
// client sees the same of both.
func TestLost(t *testing.T) {
	e := newEstate(t)
	url, stop, err := e.w.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	over := ofConfig(aws.Config{Region: here, BaseEndpoint: &url, Credentials: credentials.NewStaticCredentialsProvider(e.key.ID, e.key.Secret, "")})
	for name, c := range map[string]*clients{"network": over, "direct": e.clients} {
		e.clients = c
		before := len(e.r.Groups())
		e.w.LoseAnswers("CreateSecurityGroup", 1)
		if _, err := e.create(t.Context(), name+" 1"); err == nil || !strings.Contains(err.Error(), "EOF") {
			t.Errorf("%s: a lost answer is %v", name, err)
		}
		e.w.LoseRequests("CreateSecurityGroup", 1)
		if _, err := e.create(t.Context(), name+" 2"); err == nil || !strings.Contains(err.Error(), "EOF") {
			t.Errorf("%s: a lost request is %v", name, err)
		}
		if n := len(e.r.Groups()) - before; n != 1 {
			t.Errorf("%s: %d groups were made", name, n)
		}
		_, err := e.create(t.Context(), name+" 1")
		wants(t, err, "InvalidGroup.Duplicate")
	}
}

func TestStaleReads(t *testing.T) {
	e := newEstate(t)
	ctx := t.Context()
	e.w.StaleReads(awstest.KindGroups, 2)
	wants(t, e.allow(ctx, e.group, 1), "")
	for n, want := range []int{0, 0, 1, 1} {
		if got := e.seen(t, e.group); got != want {
			t.Errorf("read %d sees %d permissions", n, got)
		}
	}
	// Writes see what is, and two of them come to light one after the other.
	wants(t, e.allow(ctx, e.group, 2), "")
	wants(t, e.allow(ctx, e.group, 2), "InvalidPermission.Duplicate")
	first := e.seen(t, e.group)
	wants(t, e.allow(ctx, e.group, 3), "")
	got := []int{first, e.seen(t, e.group), e.seen(t, e.group), e.seen(t, e.group)}
	if !slices.Equal(got, []int{1, 1, 2, 3}) {
		t.Errorf("reads see %v permissions", got)
	}
	e.w.FlappingReads(awstest.KindGroups, 4)
	wants(t, e.allow(ctx, e.group, 4), "")
	got = nil
	for range 5 {
		got = append(got, e.seen(t, e.group))
	}
	if !slices.Equal(got, []int{4, 3, 4, 3, 4}) {
		t.Errorf("flapping reads see %v permissions", got)
	}
	wants(t, e.allow(ctx, e.group, 5), "")
	e.w.Settle()
	if got := e.seen(t, e.group); got != 5 {
		t.Errorf("when all is settled there are %d permissions", got)
	}
}

func TestNewGroupsAreHidden(t *testing.T) {
	e := newEstate(t)
	e.w.HideNewGroups(2)
	id, err := e.create(t.Context(), "new")
	wants(t, err, "")
	wants(t, e.allow(t.Context(), id, 1), "InvalidGroup.NotFound")
	wants(t, e.swap(t.Context(), e.r.InterfacesOf(e.db)[0].ID, id), "InvalidGroup.NotFound")
	wants(t, e.allow(t.Context(), id, 1), "")
}

func TestDetachLag(t *testing.T) {
	e := newEstate(t)
	old := e.r.AddGroup(awstest.GroupSpec{VPC: e.vpc, Name: "old"})
	nic := e.r.AddInterface(awstest.InterfaceSpec{Subnet: e.sub, Groups: []string{old}})
	e.w.DetachLag(2)
	wants(t, e.swap(t.Context(), nic, e.group), "")
	for _, want := range []string{"DependencyViolation", "DependencyViolation", ""} {
		_, err := e.ec2.DeleteSecurityGroup(t.Context(), &ec2.DeleteSecurityGroupInput{GroupId: &old})
		wants(t, err, want)
	}
}

// A script says what becomes of each call, and a clone begins where its origin was.
func TestScriptAndClone(t *testing.T) {
	e := newEstate(t)
	wants(t, e.allow(t.Context(), e.group, 1), "")
	w := e.w.Clone()
	c := *e
	c.w, c.r, c.clients = w, w.In(e.r), as(w, here, e.key)
	n := 0
	w.Script(func(c awstest.Call) awstest.Outcome {
		if n++; !c.Mutating {
			return awstest.Outcome{}
		}
		return []awstest.Outcome{{Code: "InternalError"}, {LoseRequest: true}, {LoseAnswer: true}, {}}[n%4]
	})
	var codes []string
	for port := range int32(4) {
		_ = c.allow(t.Context(), c.group, port+10)
	}
	for _, call := range w.Calls() {
		codes = append(codes, fmt.Sprint(call.Code, " ", call.Lost))
	}
	if got := strings.Join(codes, ","); got != "RequestLost true, true, false,InternalError false" {
		t.Errorf("the log says %q", got)
	}
	if a, b := e.seen(t, e.group), c.seen(t, c.group); a != 1 || b != 3 {
		t.Errorf("%d permissions in the origin and %d in the clone", a, b)
	}
}

func TestVanish(t *testing.T) {
	e := newEstate(t)
	nic := e.r.InterfacesOf(e.db)[0].ID
	e.w.VanishOnSwap(nic)
	wants(t, e.swap(t.Context(), nic, e.group), "InvalidNetworkInterfaceID.NotFound")
	if _, there := e.r.Interface(nic); there {
		t.Error("the interface is still there")
	}
}

// A hook sees the world before and after each call, and may change it.
func TestHooks(t *testing.T) {
	e := newEstate(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var log []string
	count := func() int { return len(e.r.Groups()) }
	e.w.OnMutation(
		func(c awstest.Call) {
			log = append(log, fmt.Sprint("before ", c.Action, " ", c.Params["GroupName"], " ", count()))
			if c.Params["GroupName"] == "b" {
				e.r.AddGroup(awstest.GroupSpec{VPC: e.vpc, Name: "B"})
			}
		},
		func(c awstest.Call) {
			log = append(log, fmt.Sprint("after ", c.Code, " ", count()))
			cancel()
		})
	_, err := e.create(ctx, "a")
	wants(t, err, "")
	_, err = e.create(t.Context(), "b")
	wants(t, err, "InvalidGroup.Duplicate")
	if _, err := e.create(ctx, "c"); err == nil {
		t.Error("a caller that is dead still calls")
	}
	want := "before CreateSecurityGroup a 2|after  3|before CreateSecurityGroup b 3|after InvalidGroup.Duplicate 4"
	if got := strings.Join(log, "|"); got != want {
		t.Errorf("hooks saw %s, want %s", got, want)
	}
}

// The buckets are those of the developer guide, and fill by the bubble's clock.
func TestThrottling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(t)
		nic := e.r.InterfacesOf(e.db)[0].ID
		calls := map[string]struct {
			call  func() error
			burst int
			per   time.Duration
		}{
			"wide": {func() error {
				_, err := e.ec2.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{})
				return err
			}, 50, time.Second / 10},
			"paginated": {func() error {
				_, err := e.ec2.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{MaxResults: aws.Int32(1000)})
				return err
			}, 100, time.Second / 20},
			"swap":  {func() error { return e.swap(t.Context(), nic, e.group) }, 100, time.Second / 5},
			"allow": {func() error { _ = e.allow(t.Context(), e.group, 1); return e.allow(t.Context(), e.group, 1) }, 25, 2 * time.Second / 5},
		}
		for name, c := range calls {
			atOnce := func() (n int) {
				for ; code(c.call()) != "RequestLimitExceeded"; n++ {
					if n > 200 {
						t.Fatalf("%s is not throttled", name)
					}
				}
				return n
			}
			if n := atOnce(); n != c.burst {
				t.Errorf("%s: %d calls at once", name, n)
			}
			time.Sleep(10 * c.per)
			if n := atOnce(); n != 10 {
				t.Errorf("%s: %d more after %v, want 10", name, n, 10*c.per)
			}
		}
		// Other accounts and regions have buckets of their own.
		for _, c := range []*clients{as(e.w, there, e.key), as(e.w, here, e.yours.AddKey("o", "ec2:*"))} {
			_, err := c.ec2.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{})
			wants(t, err, "")
		}
		for range 15 {
			_, err := e.lambda.ListFunctions(t.Context(), &lambda.ListFunctionsInput{})
			wants(t, err, "")
		}
		_, err := e.lambda.ListFunctions(t.Context(), &lambda.ListFunctionsInput{})
		wants(t, err, "TooManyRequestsException")
		e.w.SetLimit("DescribeNetworkInterfaces", awstest.Limit{Burst: 1, PerSecond: 1})
		wants(t, calls["wide"].call(), "")
		wants(t, calls["wide"].call(), "RequestLimitExceeded")
		e.w.Unthrottled()
		wants(t, calls["wide"].call(), "")
	})
}

// The SDK's own retries live with the buckets, at the pace that they allow.
func TestRetriesOfTheSDK(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(t)
		c := ec2.New(ec2.Options{
			Region: here, BaseEndpoint: aws.String("http://aws.test"), HTTPClient: e.w.HTTPClient(),
			Credentials: credentials.NewStaticCredentialsProvider(e.key.ID, e.key.Secret, ""),
			Retryer:     retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts = 10 }),
		})
		began := time.Now()
		nic := e.r.InterfacesOf(e.db)[0].ID
		for range 150 {
			if _, err := c.ModifyNetworkInterfaceAttribute(t.Context(), &ec2.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: &nic, Groups: []string{e.group}}); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took < 10*time.Second {
			t.Errorf("150 swaps took %v, and no account may do more than 100 and 5 a second", took)
		}
	})
}
