package awstest_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"bulkhead/drivers/aws/awstest"
)

// Who may not is told so in the words of the service.
func TestDenied(t *testing.T) {
	e := newEstate(t)
	c := as(e.w, here, e.mine.AddKey("reader", "ec2:DescribeV*"))
	_, err := c.ec2.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
	wants(t, err, "")
	_, err = c.ec2.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{})
	wants(t, err, "UnauthorizedOperation")
	if err == nil || !strings.Contains(err.Error(), "User: arn:aws:iam::111122223333:user/reader is not authorized to perform: ec2:DescribeSubnets because no identity-based policy allows") {
		t.Errorf("the message is %v", err)
	}
	_, err = c.lambda.ListFunctions(t.Context(), &lambda.ListFunctionsInput{})
	wants(t, err, "AccessDeniedException")
	_, err = c.sts.AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::444455556666:role/none"), RoleSessionName: aws.String("x1")})
	wants(t, err, "AccessDenied")
	_, err = c.sts.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	wants(t, err, "")
	_, err = c.ec2.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{DryRun: aws.Bool(true)})
	wants(t, err, "DryRunOperation")
}

func TestUnknownKey(t *testing.T) {
	e := newEstate(t)
	c := as(e.w, here, awstest.Key{ID: "AKIAIOSFODNN7EXAMPLE", Secret: "no"})
	_, err := c.ec2.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
	wants(t, err, "AuthFailure")
	_, err = as(e.w, here, awstest.Key{ID: e.key.ID, Secret: "no"}).ec2.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
	wants(t, err, "AuthFailure")
	_, err = c.lambda.ListFunctions(t.Context(), &lambda.ListFunctionsInput{})
	wants(t, err, "UnrecognizedClientException")
	_, err = c.sts.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	wants(t, err, "InvalidClientTokenId")
	// A region that the account has not opted into is no better than none.
	e.mine.Disable("ap-east-1")
	for _, region := range []string{"ap-east-1", "nowhere-1"} {
		_, err = as(e.w, region, e.key).ec2.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
		wants(t, err, "AuthFailure")
	}
	all, err := e.ec2.DescribeRegions(t.Context(), &ec2.DescribeRegionsInput{AllRegions: aws.Bool(true)})
	if err != nil || len(all.Regions) != 3 {
		t.Errorf("regions are %+v, %v", all, err)
	}
}

// A session of a role is the role's account, with the role's rights, for its time.
func TestAssumeRole(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	w := awstest.New(awstest.Clock(func() time.Time { return now }))
	hub, spoke := w.AddAccount(mine), w.AddAccount(yours)
	hub.Region(here)
	vpc := spoke.Region(here).AddVPC("spoke", "10.0.0.0/16")
	key := hub.AddKey("bulkhead", "sts:AssumeRole")
	role := spoke.AddRole(awstest.RoleSpec{Name: "bulkhead", Trust: []string{mine}, ExternalID: "abc", Allow: []string{"ec2:Describe*"}})
	c := as(w, here, key)
	in := &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("one")}
	_, err := c.sts.AssumeRole(t.Context(), in)
	wants(t, err, "AccessDenied")
	in.ExternalId = aws.String("abc")
	in.DurationSeconds = aws.Int32(60)
	_, err = c.sts.AssumeRole(t.Context(), in)
	wants(t, err, "ValidationError")
	in.DurationSeconds = nil
	out, err := c.sts.AssumeRole(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if *out.AssumedRoleUser.Arn != "arn:aws:sts::444455556666:assumed-role/bulkhead/one" || !out.Credentials.Expiration.Equal(now.Add(time.Hour)) {
		t.Errorf("the session is %+v", out)
	}
	creds := aws.Credentials{AccessKeyID: *out.Credentials.AccessKeyId, SecretAccessKey: *out.Credentials.SecretAccessKey, SessionToken: *out.Credentials.SessionToken}
	s := session(w, here, creds)
	vpcs, err := s.ec2.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
	if err != nil || *vpcs.Vpcs[0].VpcId != vpc {
		t.Errorf("the session sees %+v, %v", vpcs, err)
	}
	who, err := s.sts.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil || *who.Account != yours {
		t.Errorf("the session is %+v, %v", who, err)
	}
	creds.SessionToken = "another"
	_, err = session(w, here, creds).ec2.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
	wants(t, err, "AuthFailure")
	now = now.Add(time.Hour)
	_, err = s.ec2.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
	wants(t, err, "RequestExpired")
}

// What is not signed, or not as AWS signs, is refused before anything else.
func TestHeaders(t *testing.T) {
	e := newEstate(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const vpcs = "Action=DescribeVpcs&Version=2016-11-15"
	replace := func(old, with string) func(string) string {
		return func(s string) string { return strings.Replace(s, old, with, 1) }
	}
	for name, c := range map[string]struct {
		spoil      func(string) string // the Authorization header
		body, want string
	}{
		"none":           {func(string) string { return "" }, vpcs, "MissingAuthenticationToken"},
		"basic":          {func(string) string { return "Basic Zm9v" }, vpcs, "IncompleteSignature"},
		"short":          {func(s string) string { return s[:len(s)-1] }, vpcs, "IncompleteSignature"},
		"date":           {replace("20260102", "20260101"), vpcs, "SignatureDoesNotMatch"},
		"host":           {replace(";host", ""), vpcs, "IncompleteSignature"},
		"region":         {replace(here, there), vpcs, "AuthFailure"},
		"no action":      {nil, "Action=Describe&Version=2016-11-15", "InvalidAction"},
		"no version":     {nil, "Action=DescribeVpcs", "NoSuchVersion"},
		"unknown":        {nil, vpcs + "&VpcIds.1=vpc-0", "UnknownParameter"},
		"twice":          {nil, vpcs + "&Action=DescribeVpcs", "MalformedQueryString"},
		"hole":           {nil, vpcs + "&VpcId.2=vpc-0", "InvalidParameterValue"},
		"not a number":   {nil, vpcs + "&MaxResults=many", "InvalidParameterValue"},
		"no list":        {nil, vpcs + "&VpcId=vpc-0", "UnknownParameter"},
		"deep":           {nil, vpcs + "&Filter.1.Value.1.Name=x", "MissingParameter"},
		"nothing wrong":  {nil, vpcs, ""},
		"semicolons":     {nil, "Action=DescribeVpcs;Version=2016-11-15", "MalformedQueryString"},
		"nothing at all": {nil, "", "InvalidAction"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://aws.test/", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		key := aws.Credentials{AccessKeyID: e.key.ID, SecretAccessKey: e.key.Secret}
		hash := fmt.Sprintf("%x", sha256.Sum256([]byte(c.body)))
		if err := v4.NewSigner().SignHTTP(t.Context(), key, req, hash, "ec2", here, now); err != nil {
			t.Fatal(err)
		}
		if c.spoil != nil {
			req.Header.Set("Authorization", c.spoil(req.Header.Get("Authorization")))
		}
		resp, err := e.w.HTTPClient().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if text := string(body); err != nil || c.want == "" && resp.StatusCode != http.StatusOK || c.want != "" && !strings.Contains(text, "<Code>"+c.want+"</Code>") {
			t.Errorf("%s: %d %s, want %q", name, resp.StatusCode, text, c.want)
		}
	}
}
