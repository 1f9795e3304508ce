package awstest_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"bulkhead/drivers/aws/awstest"
)

// clients are the real SDK's, for one account and region of an endpoint.
type clients struct {
	ec2    *ec2.Client
	lambda *lambda.Client
	sts    *sts.Client

	scaling *autoscaling.Client
}

// ofConfig makes clients that do not retry, so that a test sees every answer.
func ofConfig(cfg aws.Config) *clients {
	cfg.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	return &clients{ec2: ec2.NewFromConfig(cfg), lambda: lambda.NewFromConfig(cfg), sts: sts.NewFromConfig(cfg), scaling: autoscaling.NewFromConfig(cfg)}
}

// dial makes clients of any endpoint, with what the environment says of credentials.
func dial(t testing.TB, url, region string, opts ...func(*config.LoadOptions) error) *clients {
	t.Helper()
	// Connections that are kept would outlive the test.
	client := awshttp.NewBuildableClient().WithTransportOptions(func(tr *http.Transport) { tr.DisableKeepAlives = true })
	cfg, err := config.LoadDefaultConfig(t.Context(), append(opts, config.WithRegion(region), config.WithBaseEndpoint(url), config.WithHTTPClient(client))...)
	if err != nil {
		t.Fatal(err)
	}
	return ofConfig(cfg)
}

// as makes clients of a world with a key, without a network. What the environment says
// of AWS is not read.
func as(w *awstest.World, region string, k awstest.Key) *clients {
	return session(w, region, aws.Credentials{AccessKeyID: k.ID, SecretAccessKey: k.Secret})
}

func session(w *awstest.World, region string, k aws.Credentials) *clients {
	return ofConfig(aws.Config{
		Region: region, BaseEndpoint: aws.String("http://aws.test"), HTTPClient: w.HTTPClient(),
		Credentials: credentials.StaticCredentialsProvider{Value: k},
	})
}

// code is the error's code as AWS names it, "" for none, and the text of what is no
// error of AWS's.
func code(err error) string {
	var api smithy.APIError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &api):
		return api.ErrorCode()
	}
	return err.Error()
}

// wants fails unless the error has the code; "" wants none.
func wants(t testing.TB, err error, want string) {
	t.Helper()
	if got := code(err); got != want {
		t.Errorf("error is %v, want code %q", err, want)
	}
}
