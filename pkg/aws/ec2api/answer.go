package ec2api

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// lists are the elements that hold what a read asks for, by operation, empty where there is
// nothing. An answer without its list is refused: should AWS leave an empty one out, which
// was not tried, then nothing is changed and the error says why.
var lists = map[string]string{
	"DescribeImages":                 "imagesSet",
	"DescribeInstances":              "reservationSet",
	"DescribeLaunchTemplateVersions": "launchTemplateVersionSet",
	"DescribeManagedPrefixLists":     "prefixListSet",
	"DescribeNetworkInterfaces":      "networkInterfaceSet",
	"DescribeSecurityGroupRules":     "securityGroupRuleSet",
	"DescribeSecurityGroups":         "securityGroupInfo",
	"DescribeSubnets":                "subnetSet",
	"DescribeVpcPeeringConnections":  "vpcPeeringConnectionSet",
	"DescribeVpcs":                   "vpcSet",
	"GetManagedPrefixListEntries":    "entrySet",

	"DescribeAutoScalingGroups": "AutoScalingGroups",

	"GetFunctionConfiguration":    "FunctionArn",
	"ListFunctions":               "Functions",
	"ListTags":                    "Tags",
	"UpdateFunctionConfiguration": "FunctionArn",
}

// badAnswer is an answer that is not one of the operation.
type badAnswer struct{ what string }

func (b *badAnswer) Error() string { return "the answer " + b.what }

// complete holds answers to be whole, and of the operation, before the SDK reads them. The
// SDK takes an empty body, the page of a proxy and a list of another name for an answer
// that holds nothing, and a network that holds nothing is what a policy would be taken off
// of.
type complete struct{}

func addComplete(s *middleware.Stack) error {
	return s.Deserialize.Insert(complete{}, "OperationDeserializer", middleware.After)
}

// ID is the name of the step.
func (complete) ID() string { return "BulkheadCompleteAnswer" }

// HandleDeserialize reads the answer and gives it on if it is whole.
func (complete) HandleDeserialize(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (out middleware.DeserializeOutput, md middleware.Metadata, err error) {
	out, md, err = next.HandleDeserialize(ctx, in)
	r, ok := out.RawResponse.(*smithyhttp.Response)
	if err != nil || !ok || r.StatusCode < 200 || r.StatusCode >= 300 {
		return out, md, err
	}
	var check func(body []byte, operation, list string) string
	switch awsmiddleware.GetServiceID(ctx) {
	case "EC2", "STS", "Auto Scaling":
		check = checkXML
	case "Lambda":
		check = checkJSON
	default: // the SDK's own way to credentials, by SSO for one
		return out, md, nil
	}
	body, err := io.ReadAll(r.Body)
	_ = r.Body.Close()
	r.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil {
		return out, md, &badAnswer{fmt.Sprintf("ends early: %v", err)}
	}
	operation := awsmiddleware.GetOperationName(ctx)
	if what := check(body, operation, lists[operation]); what != "" {
		return out, md, &badAnswer{what}
	}
	return out, md, nil
}

// checkXML says what is wrong with an answer of the query protocols: it is one document, of
// the operation, with one list of the name, which holds items and nothing else. A list
// called "" is none.
func checkXML(body []byte, operation, list string) string {
	d := xml.NewDecoder(bytes.NewReader(body))
	root, item := operation+"Response", "item"
	at := 1 // how deep the list is
	if list == "AutoScalingGroups" {
		at, item = 2, "member"
	}
	depth, seen, inside, closed := 0, 0, false, false
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) && closed {
			break
		}
		if err != nil {
			return fmt.Sprintf("is no complete XML: %v", err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			name := t.Name.Local
			switch {
			case closed:
				return fmt.Sprintf("goes on with <%s> after its end", name)
			case depth == 0 && name != root:
				return fmt.Sprintf("begins with <%s> and not with <%s>; is there a proxy in between?", name, root)
			case depth == at && name == list && list != "":
				seen++
				inside = true
			case depth == at+1 && inside && name != item:
				return fmt.Sprintf("has <%s> in its list <%s>", name, list)
			}
			depth++
		case xml.EndElement:
			depth--
			inside = inside && depth != at
			closed = depth == 0
		}
	}
	if list != "" && seen != 1 {
		return fmt.Sprintf("has %d lists <%s>, where it has one, empty or not", seen, list)
	}
	return ""
}

// checkJSON is checkXML for Lambda: one object with what the operation is about.
func checkJSON(body []byte, operation, key string) string {
	var out map[string]json.RawMessage
	if err := json.Unmarshal(body, &out); err != nil {
		return fmt.Sprintf("is no complete JSON: %v", err)
	}
	if v, ok := out[key]; key != "" && (!ok || string(v) == "null") {
		return fmt.Sprintf("to %s has no %q", operation, key)
	}
	return ""
}
