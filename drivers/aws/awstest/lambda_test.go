package awstest_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"bulkhead/drivers/aws/awstest"
)

func (e *estate) hyperplanes() (out [][]string) {
	for _, i := range e.r.Interfaces() {
		if i.Type == "lambda" {
			out = append(out, i.Groups)
		}
	}
	return out
}

func TestListFunctions(t *testing.T) {
	e := newEstate(t)
	for n := range 120 {
		e.r.AddFunction(awstest.FunctionSpec{Name: fmt.Sprintf("f-%03d", n), Subnets: []string{e.sub}, Groups: []string{e.group}})
	}
	e.r.AddFunction(awstest.FunctionSpec{Name: "outside"})
	var names []string
	pages := lambda.NewListFunctionsPaginator(e.lambda, &lambda.ListFunctionsInput{MaxItems: aws.Int32(1000)})
	for pages.HasMorePages() {
		p, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Functions) > 50 {
			t.Errorf("a page holds %d", len(p.Functions))
		}
		for _, f := range p.Functions {
			names = append(names, *f.FunctionName)
			if in := f.VpcConfig != nil; in != (*f.FunctionName != "outside") {
				t.Errorf("%s is in %+v", *f.FunctionName, f.VpcConfig)
			}
		}
	}
	if len(names) != 121 || !slices.IsSorted(names) {
		t.Errorf("%d functions", len(names))
	}
	if got := e.hyperplanes(); len(got) != 1 {
		t.Errorf("functions with one subnet and one group share one interface, and there are %v", got)
	}
	_, err := e.lambda.ListFunctions(t.Context(), &lambda.ListFunctionsInput{Marker: aws.String("x")})
	wants(t, err, "InvalidParameterValueException")
}

// A function moves between groups by an update that is not done at once.
func TestMoveFunction(t *testing.T) {
	e := newEstate(t)
	arn := e.r.AddFunction(awstest.FunctionSpec{Name: "f", Subnets: []string{e.sub}, Groups: []string{e.group}})
	next := e.r.AddGroup(awstest.GroupSpec{VPC: e.vpc, Name: "next"})
	move := func(name string, groups ...string) error {
		_, err := e.lambda.UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{
			FunctionName: &name, VpcConfig: &types.VpcConfig{SubnetIds: []string{e.sub}, SecurityGroupIds: groups}})
		return err
	}
	wants(t, move("f"), "InvalidParameterValueException")
	wants(t, move("g", next), "ResourceNotFoundException")
	wants(t, move("f", "sg-0123456789abcdef0"), "InvalidParameterValueException")
	wants(t, move("f", "a", "b", "c", "d", "e", "f"), "InvalidParameterValueException")
	wants(t, move(arn, next), "")
	wants(t, move("f", e.group), "ResourceConflictException")
	if got := e.hyperplanes(); len(got) != 2 {
		t.Errorf("in the update there are interfaces of %v", got)
	}
	for _, want := range []types.LastUpdateStatus{types.LastUpdateStatusInProgress, types.LastUpdateStatusSuccessful} {
		if runs, at := e.r.InterfacesOfFunction("f")[0].Groups[0], map[bool]string{true: e.group, false: next}[want == types.LastUpdateStatusInProgress]; runs != at {
			t.Errorf("%s, it runs with %s", want, runs)
		}
		out, err := e.lambda.GetFunctionConfiguration(t.Context(), &lambda.GetFunctionConfigurationInput{FunctionName: aws.String(mine + ":function:f")})
		if err != nil || out.LastUpdateStatus != want || out.VpcConfig.SecurityGroupIds[0] != next {
			t.Errorf("the function reads %+v, %v", out, err)
		}
	}
	if got := e.hyperplanes(); len(got) != 1 || got[0][0] != next {
		t.Errorf("after the update there are interfaces of %v", got)
	}
	wants(t, move("f", e.group), "")
}
