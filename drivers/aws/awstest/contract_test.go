package awstest_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go"
)

// What is refused is told as AWS tells it: the SDK gives the code of the answer.
func TestErrorsOfTheSDK(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`<Response><Errors><Error><Code>InvalidAction</Code><Message>no</Message></Error></Errors><RequestID>1</RequestID></Response>`))
	}))
	defer srv.Close()
	c, err := dial(t.Context(), srv.URL, "eu-central-1", "AKIAIOSFODNN7EXAMPLE")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.ec2.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
	var api smithy.APIError
	if !errors.As(err, &api) || code(api) != "InvalidAction" {
		t.Errorf("DescribeVpcs() error is %v, want code InvalidAction", err)
	}
}
