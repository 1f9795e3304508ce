package ec2api

import (
	"encoding/json"
	"go/ast"
	goparser "go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
)

const inventoryPolicy = `{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "ec2:DescribeInstances",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeVpcs",
        "lambda:ListFunctions",
        "lambda:ListTags"
      ],
      "Resource": [
        "*"
      ]
    },
    {
      "Effect": "Allow",
      "Action": [
        "sts:AssumeRole"
      ],
      "Resource": [
        "arn:aws:iam::111122223333:role/bulkhead"
      ]
    }
  ]
}
`

func TestPolicy(t *testing.T) {
	got := string(Policy([]string{"arn:aws:iam::111122223333:role/bulkhead"}, Inventory, Functions, AssumeRole))
	if got != inventoryPolicy {
		t.Errorf("the policy is\n%s", got)
	}
	for _, n := range ActionsFor(Inventory, ImageNames, Functions, Observe, AssumeRole) {
		for _, a := range Actions() {
			if a.Name == n && a.Write {
				t.Errorf("who only looks is allowed %s", n)
			}
		}
	}
	if got := ActionsFor(ManageFunctions); !slices.Contains(got, "ec2:DescribeSubnets") || !slices.Contains(got, "lambda:UpdateFunctionConfiguration") {
		t.Errorf("to manage functions needs %q", got)
	}
	var all []string
	for _, u := range Uses() {
		all = append(all, ActionsFor(u)...)
	}
	for _, a := range Actions() {
		if !slices.Contains(all, a.Name) && a.Name != "sts:GetCallerIdentity" { // that one needs no permission
			t.Errorf("%s is needed for nothing", a.Name)
		}
		if a.Name != assumeRole.Name && (a.Rate <= 0 || a.Burst <= 0) {
			t.Errorf("%s has no limit", a.Name)
		}
		if a.Write && a.Rate > 5 {
			t.Errorf("%s may be called more often than AWS refills its bucket", a.Name)
		}
	}
	var doc any
	if err := json.Unmarshal([]byte(leastPolicy("ec2:DescribeVpcs", "*")), &doc); err != nil {
		t.Error(err)
	}
}

// An action that a call waits and answers for is in the table that policies are made
// from: every variable that is an Action is in Actions.
func TestActionsAreComplete(t *testing.T) {
	f, err := goparser.ParseFile(token.NewFileSet(), "actions.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		for _, s := range g.Specs {
			n += len(s.(*ast.ValueSpec).Names)
		}
	}
	names := map[string]bool{}
	for _, a := range Actions() {
		if names[a.Name] {
			t.Errorf("%s is there twice", a.Name)
		}
		names[a.Name] = true
	}
	if n != len(names) {
		t.Errorf("%d actions, of which %d are in the list", n, len(names))
	}
}

func TestRoleAccount(t *testing.T) {
	for arn, want := range map[string]string{
		"arn:aws:iam::111122223333:role/bulkhead":        "111122223333",
		"arn:aws-cn:iam::111122223333:role/path/to/role": "111122223333",
		"arn:aws-us-gov:iam::111122223333:role/x":        "111122223333",
		"arn:aws:iam::111122223333:user/x":               "",
		"arn:aws:iam::11112222333:role/x":                "",
		"arn:aws:iam:eu-west-1:111122223333:role/x":      "",
		"arn:azure:iam::111122223333:role/x":             "",
		"":                                               "",
	} {
		if got := RoleAccount(arn); got != want {
			t.Errorf("RoleAccount(%q) = %q, want %q", arn, got, want)
		}
	}
}

func TestErrorText(t *testing.T) {
	for _, tt := range []struct {
		e    Error
		want string
	}{
		{
			Error{Kind: Denied, Action: "ec2:DescribeInstances", Region: "eu-central-1", Code: "UnauthorizedOperation", Message: "You are not authorized."},
			`ec2:DescribeInstances in region "eu-central-1": denied (UnauthorizedOperation: You are not authorized.); the least IAM policy that allows it is {"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ec2:DescribeInstances"],"Resource":["*"]}]}`,
		},
		{
			Error{Kind: Denied, Action: "sts:AssumeRole", Region: "eu-central-1", Role: "arn:aws:iam::111122223333:role/r", Code: "AccessDenied"},
			`sts:AssumeRole in region "eu-central-1" as arn:aws:iam::111122223333:role/r: denied (AccessDenied); the role's trust policy must name the caller, and the caller needs at least the IAM policy {"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["sts:AssumeRole"],"Resource":["arn:aws:iam::111122223333:role/r"]}]}`,
		},
		{Error{Kind: Throttled, Action: "ec2:DescribeVpcs", Region: "r", Code: "RequestLimitExceeded"}, "after 10 tries (RequestLimitExceeded)"},
		{Error{Kind: Credentials, Action: "ec2:DescribeVpcs", Region: "r", Code: "AuthFailure"}, "is the region enabled for the account?"},
		{Error{Kind: Credentials, Action: "ec2:DescribeVpcs", Region: "r", Code: "ExpiredToken"}, "they have expired"},
		{Error{Kind: Credentials, Action: "ec2:DescribeVpcs", Region: "r", Message: "no role"}, "AWS_PROFILE"},
		{Error{Kind: Refused, Action: "ec2:DescribeVpcs", Region: "r", Message: "no"}, `ec2:DescribeVpcs in region "r": no`},
	} {
		if got := tt.e.Error(); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %s, want %s", tt.e.Kind, got, tt.want)
		}
	}
	for code, want := range map[string]Kind{
		"InvalidGroup.NotFound": NotFound, "InvalidPermission.Duplicate": Duplicate, "DependencyViolation": InUse, "RulesPerSecurityGroupLimitExceeded": Limit,
		"InvalidParameterValue": Refused, "RequestLimitExceeded": Throttled, "InvalidVpcID.NotFound": NotFound, "AccessDeniedException": Denied,
	} {
		if got := kindOfCode(code); got != want {
			t.Errorf("%s is %s, want %s", code, got, want)
		}
	}
	if got := plainMessage("You are not authorized. Encoded authorization failure message: AAAA"); got != "You are not authorized." {
		t.Errorf("%q", got)
	}
}
