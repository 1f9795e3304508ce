package ec2_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bulkhead/drivers/aws/awstest"
	"bulkhead/inventory/ec2"
	"bulkhead/pkg/aws/ec2api"
)

// What goes wrong in one region is that region's, is named, and is not retried for ever;
// the other goes on.
func TestFailures(t *testing.T) {
	for _, tt := range []struct {
		name  string
		wrong func(t *testing.T, e *estate)
		part  string // which fails
		kind  ec2api.Kind
		want  []string
		both  bool // all fail
	}{
		{
			"a region that is not one", func(_ *testing.T, e *estate) { e.s.Regions = []string{here, "eu-nowhere-1"} }, "eu-nowhere-1", ec2api.Credentials,
			[]string{`ec2:DescribeNetworkInterfaces in region "eu-nowhere-1"`, "AuthFailure", "is the region enabled"}, false,
		},
		{
			"a region that is not enabled", func(_ *testing.T, e *estate) { e.mine.Disable(there) }, there, ec2api.Credentials,
			[]string{`in region "eu-west-1"`, "is the region enabled for the account?"}, false,
		},
		{
			"a denied read", func(t *testing.T, e *estate) { e.use(t, e.mine.AddKey("blind", "ec2:DescribeNetworkInterfaces")) }, here, ec2api.Denied,
			[]string{`ec2:DescribeInstances in region "eu-central-1": denied`, `"Action":["ec2:DescribeInstances"]`, "blind"}, true,
		},
		{
			"denied functions", func(t *testing.T, e *estate) { e.use(t, e.mine.AddKey("half", "ec2:Describe*")) }, here, ec2api.Denied,
			[]string{`lambda:ListFunctions in region "eu-central-1": denied`, `"Action":["lambda:ListFunctions"]`, `"functions: off"`}, true,
		},
		{
			"denied tags", func(t *testing.T, e *estate) {
				e.use(t, e.mine.AddKey("most", "ec2:Describe*", "lambda:ListFunctions"))
			}, here, ec2api.Denied,
			[]string{`lambda:ListTags in region`, `"Action":["lambda:ListTags"]`}, false,
		},
		{
			"a key that is none", func(t *testing.T, e *estate) {
				e.use(t, awstest.Key{ID: "AKIAIOSFODNN7EXAMPLE", Secret: "wJalrXUtnFEMI"})
			}, here, ec2api.Credentials,
			[]string{"AuthFailure: AWS was not able to validate"}, true,
		},
		{"no key at all", func(t *testing.T, e *estate) { e.use(t, awstest.Key{}) }, here, ec2api.Credentials, []string{"no credentials that AWS takes", "AWS_PROFILE"}, true},
		{"a profile that is none", func(_ *testing.T, e *estate) { e.s.Profile = "missing" }, here, ec2api.Credentials, []string{`"missing"`, "load AWS configuration"}, true},
		{
			"a role that is not to be had", func(_ *testing.T, e *estate) { e.s.Roles, e.s.ExternalID = []string{ec2.Own, e.role}, "wrong" }, theirs + "/" + here, ec2api.Denied,
			[]string{"sts:AssumeRole in region", "as arn:aws:iam::444455556666:role/bulkhead", "trust policy", `"Action":["sts:AssumeRole"],"Resource":["arn:aws:iam::444455556666:role/bulkhead"]`}, false,
		},
		{"too many calls", func(_ *testing.T, e *estate) {
			e.s.Regions = []string{here}
			e.w.FailNext("DescribeInstances", "RequestLimitExceeded", 100)
		}, here, ec2api.Throttled, []string{"after 10 tries"}, true},
		{"an endpoint that fails", func(_ *testing.T, e *estate) {
			e.s.Regions = []string{here}
			e.w.FailNext("DescribeInstances", "InternalError", 100)
		}, here, ec2api.Refused, []string{"ec2:DescribeInstances", "InternalError"}, true},
		{"an endpoint that hangs up", func(_ *testing.T, e *estate) {
			e.s.Regions = []string{here}
			e.w.LoseRequests("DescribeInstances", 100)
		}, here, ec2api.Unreachable, []string{"ec2:DescribeInstances", "EOF"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEstate(t)
			e.w.Unthrottled()
			tt.wrong(t, e)
			list := ec2.Read(t.Context(), &e.s)
			bad := byName(t, list, tt.part)
			if bad.Err == nil || ec2api.KindOf(bad.Err) != tt.kind {
				t.Fatalf("kind %q, want %q: %v", ec2api.KindOf(bad.Err), tt.kind, bad.Err)
			}
			for _, part := range tt.want {
				if !strings.Contains(bad.Err.Error(), part) {
					t.Errorf("%v\nlacks %q", bad.Err, part)
				}
			}
			if secret := os.Getenv("AWS_SECRET_ACCESS_KEY"); secret != "" && strings.Contains(bad.Err.Error(), secret) {
				t.Error("the error tells the secret")
			}
			for _, r := range list {
				if well := r.Err == nil; r.Part.Name != tt.part && well == tt.both && !strings.HasPrefix(r.Part.Name, theirs) {
					t.Errorf("%s: %v", r.Part.Name, r.Err)
				}
				if r.Err != nil && len(r.Report.Assets) > 0 {
					t.Errorf("%s failed and reports %d assets", r.Part.Name, len(r.Report.Assets))
				}
			}
		})
	}
}

// What passes by itself is tried again: an answer that was lost, a pause that AWS asks
// for, an error of theirs.
func TestTriedAgain(t *testing.T) {
	e := newEstate(t)
	e.w.FailNext("DescribeInstances", "RequestLimitExceeded", 4)
	e.w.FailNext("DescribeNetworkInterfaces", "InternalError", 3)
	e.w.FailNext("ListFunctions", "TooManyRequestsException", 3)
	e.w.LoseAnswers("DescribeInstances", 2)
	e.w.LoseRequests("DescribeNetworkInterfaces", 2)
	for _, r := range ec2.Read(t.Context(), &e.s) {
		if r.Err != nil {
			t.Error(r.Err)
		}
	}
}

// breaking is an endpoint that answers so many calls of an action, and no more.
type breaking struct {
	http.RoundTripper
	action string
	left   int
	err    error
}

func (b *breaking) RoundTrip(req *http.Request) (*http.Response, error) {
	text, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	if strings.Contains(string(text), "Action="+b.action+"&") {
		if b.left--; b.left < 0 {
			return nil, b.err
		}
	}
	again := req.Clone(req.Context())
	again.Body = io.NopCloser(bytes.NewReader(text))
	return b.RoundTripper.RoundTrip(again)
}

// A region that fails between two pages has failed: what was read of it is not taken for
// all that there is.
func TestFailsBetweenPages(t *testing.T) {
	for _, action := range []string{"DescribeInstances", "DescribeNetworkInterfaces"} {
		e := newEstate(t)
		e.w.SparsePages(true)
		e.s.Functions = ec2.FunctionsOff
		sub := e.r.AddSubnet(e.vpc, here+"a", "10.0.64.0/20", "")
		for range 510 {
			e.r.AddInstance(awstest.InstanceSpec{Interfaces: []awstest.InterfaceSpec{{Subnet: sub}}})
		}
		e.s.Regions = []string{here}
		e.s.HTTP = &http.Client{Transport: &breaking{e.w.HTTPClient().Transport, action, 1, &net.DNSError{Err: "no such host", Name: "ec2.eu-central-1.amazonaws.com", IsNotFound: true}}}
		r := byName(t, ec2.Read(t.Context(), &e.s), here)
		if ec2api.KindOf(r.Err) != ec2api.Unreachable || len(r.Report.Assets) > 0 || !strings.Contains(r.Err.Error(), `there is no host "ec2.eu-central-1.amazonaws.com"; is there a region "eu-central-1"?`) {
			t.Errorf("%s: %d assets, %v", action, len(r.Report.Assets), r.Err)
		}
	}
}

// silent is an endpoint that takes every request and answers none.
type silent struct{}

func (silent) RoundTrip(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

// An endpoint that does not answer costs its part's time, and no more.
func TestTimeout(t *testing.T) {
	e := newEstate(t)
	synctest.Test(t, func(t *testing.T) {
		e.s.HTTP, e.s.Timeout = &http.Client{Transport: silent{}}, 90*time.Second
		began := time.Now()
		for _, r := range ec2.Read(context.Background(), &e.s) {
			if ec2api.KindOf(r.Err) != ec2api.Unreachable || !strings.Contains(r.Err.Error(), "no complete answer in time (it may take 1m30s, see timeout)") {
				t.Errorf("%s: %v", r.Part.Name, r.Err)
			}
		}
		if took := time.Since(began); took != 90*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// With AWS's own limits, and somebody else who has used them up, a read takes its time
// and is complete; ours alone never meets them.
func TestLimits(t *testing.T) {
	e := newEstate(t)
	synctest.Test(t, func(t *testing.T) {
		e.s.MaxBackoff = 0
		for range 30 {
			for _, r := range ec2.Read(t.Context(), &e.s) {
				if r.Err != nil {
					t.Fatal(r.Err)
				}
			}
		}
		for _, c := range e.w.Calls() {
			if c.Code != "" {
				t.Errorf("%s was answered %s", c.Action, c.Code)
			}
		}
	})
}

// The endpoint may come from the environment, and the profile from a file: both are the
// SDK's to find.
func TestSDKSettings(t *testing.T) {
	e := newEstate(t)
	url, stop, err := e.w.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	k := e.mine.AddKey("other", allowed...)
	file := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(file, []byte("[audit]\naws_access_key_id = "+k.ID+"\naws_secret_access_key = "+k.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.use(t, awstest.Key{})
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	t.Setenv("AWS_ENDPOINT_URL", url)
	e.s.HTTP, e.s.Endpoint, e.s.Profile = nil, "", "audit"
	for _, r := range ec2.Read(t.Context(), &e.s) {
		if r.Err != nil {
			t.Error(r.Err)
		}
	}
	for _, c := range e.w.Calls() {
		if !strings.HasSuffix(c.Principal, ":user/other") {
			t.Errorf("%s was called by %s", c.Action, c.Principal)
		}
	}
}
