package ec2api

import (
	"encoding/json"
	"slices"
	"strings"
)

// Use is what an IAM action is needed for.
type Use string

// The uses.
const (
	Inventory       Use = "inventory"        // report instances and interfaces
	ImageNames      Use = "image-names"      // the names of their images, besides
	Functions       Use = "functions"        // report Lambda functions
	Observe         Use = "observe"          // read security groups: plan, verify
	Enforce         Use = "enforce"          // write security groups: apply
	ManageFunctions Use = "manage-functions" // move Lambda functions between security groups
	AssumeRole      Use = "assume-role"      // of the caller, for the roles that it takes on
)

// Uses lists the uses in the order in which documents name them.
func Uses() []Use {
	return []Use{Inventory, ImageNames, Functions, Observe, Enforce, ManageFunctions, AssumeRole}
}

// Action is an IAM action, and what it is needed for.
type Action struct {
	Name string // as policies write it, "ec2:DescribeInstances"
	Uses []Use
	// Rate and Burst are the client's own limit, in calls a second and calls at once, below
	// what AWS allows an account, since others call too
	// (https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html).
	Rate  float64
	Burst int
	Write bool
}

// The limits: of AWS's buckets (100 calls, 20 a second to read; 50 and 5 to write) reads
// take half the rate; writes take all of it, but not the reserve.
const (
	readRate, readBurst   = 10, 20
	writeRate, writeBurst = 5, 10
)

func reads(name string, uses ...Use) Action {
	return Action{Name: name, Uses: uses, Rate: readRate, Burst: readBurst}
}

func writes(name string, uses ...Use) Action {
	return Action{Name: name, Uses: uses, Rate: writeRate, Burst: writeBurst, Write: true}
}

// The one table of what is called. A call cannot be made but with an Action of it.
var (
	describeInstances       = reads("ec2:DescribeInstances", Inventory)
	describeInterfaces      = reads("ec2:DescribeNetworkInterfaces", Inventory, Observe)
	describeVPCs            = reads("ec2:DescribeVpcs", Inventory, Observe)
	describeSubnets         = reads("ec2:DescribeSubnets", ManageFunctions)
	describePeerings        = reads("ec2:DescribeVpcPeeringConnections", Observe)
	describeImages          = reads("ec2:DescribeImages", ImageNames)
	describeGroups          = reads("ec2:DescribeSecurityGroups", Observe)
	describeRules           = reads("ec2:DescribeSecurityGroupRules", Observe)
	describePrefixLists     = reads("ec2:DescribeManagedPrefixLists", Observe)
	getPrefixListEntries    = reads("ec2:GetManagedPrefixListEntries", Observe)
	describeTemplateVersion = reads("ec2:DescribeLaunchTemplateVersions", Observe)
	// What Auto Scaling allows, AWS does not say; the SDK tries again what it refuses.
	describeScalingGroups = Action{Name: "autoscaling:DescribeAutoScalingGroups", Uses: []Use{Observe}, Rate: 3, Burst: 10}

	createGroup      = writes("ec2:CreateSecurityGroup", Enforce)
	deleteGroup      = writes("ec2:DeleteSecurityGroup", Enforce)
	authorizeIngress = writes("ec2:AuthorizeSecurityGroupIngress", Enforce)
	authorizeEgress  = writes("ec2:AuthorizeSecurityGroupEgress", Enforce)
	revokeIngress    = writes("ec2:RevokeSecurityGroupIngress", Enforce)
	revokeEgress     = writes("ec2:RevokeSecurityGroupEgress", Enforce)
	modifyInterface  = writes("ec2:ModifyNetworkInterfaceAttribute", Enforce)
	createTags       = writes("ec2:CreateTags", Enforce)
	deleteTags       = writes("ec2:DeleteTags", Enforce)

	// Lambda allows 15 control plane calls a second, of all kinds and of all who call in an
	// account (Lambda quotas): rates and bursts together stay below.
	listFunctions  = Action{Name: "lambda:ListFunctions", Uses: []Use{Functions, ManageFunctions}, Rate: 3, Burst: 4}
	listTags       = Action{Name: "lambda:ListTags", Uses: []Use{Functions}, Rate: 8, Burst: 7}
	getFunction    = Action{Name: "lambda:GetFunctionConfiguration", Uses: []Use{ManageFunctions}, Rate: 2, Burst: 2}
	updateFunction = Action{Name: "lambda:UpdateFunctionConfiguration", Uses: []Use{ManageFunctions}, Rate: 2, Burst: 2, Write: true}

	assumeRole        = Action{Name: "sts:AssumeRole", Uses: []Use{AssumeRole}}
	getCallerIdentity = Action{Name: "sts:GetCallerIdentity", Rate: 5, Burst: 5} // needs no permission
)

// Actions lists what is called, in order of name.
func Actions() []Action {
	list := []Action{
		describeInstances, describeInterfaces, describeVPCs, describeSubnets, describePeerings, describeImages,
		describeGroups, describeRules, describePrefixLists, getPrefixListEntries, describeTemplateVersion, describeScalingGroups,
		createGroup, deleteGroup, authorizeIngress, authorizeEgress, revokeIngress, revokeEgress, modifyInterface, createTags, deleteTags,
		listFunctions, listTags, getFunction, updateFunction, assumeRole, getCallerIdentity,
	}
	slices.SortFunc(list, func(a, b Action) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// ActionsFor lists the names of the IAM actions that some uses need, sorted. Lambda's
// UpdateFunctionConfiguration asks EC2 in the caller's name whether the subnets and
// groups are there (Lambda developer guide, "Required IAM permissions").
func ActionsFor(uses ...Use) []string {
	var out []string
	for _, a := range Actions() {
		if slices.ContainsFunc(a.Uses, func(u Use) bool { return slices.Contains(uses, u) }) {
			out = append(out, a.Name)
		}
	}
	if slices.Contains(uses, ManageFunctions) {
		out = append(out, describeGroups.Name, describeVPCs.Name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Policy writes the least IAM policy that allows some uses, as indented JSON. Roles are
// the ARNs that AssumeRole is for; without any it may assume every role that lets it.
func Policy(roles []string, uses ...Use) []byte {
	var statements []statement
	var names []string
	for _, n := range ActionsFor(uses...) {
		if n != assumeRole.Name {
			names = append(names, n)
		}
	}
	if len(names) > 0 {
		statements = append(statements, statement{"Allow", names, []string{"*"}})
	}
	if slices.Contains(uses, AssumeRole) {
		if len(roles) == 0 {
			roles = []string{"*"}
		}
		statements = append(statements, statement{"Allow", []string{assumeRole.Name}, roles})
	}
	out, _ := json.MarshalIndent(policy(statements), "", "  ") // texts and lists: it cannot fail
	return append(out, '\n')
}

// leastPolicy is the policy that allows one action, in one line, for an error message.
func leastPolicy(action, resource string) string {
	out, _ := json.Marshal(policy([]statement{{"Allow", []string{action}, []string{resource}}}))
	return string(out)
}

// policyDocument is an IAM policy: IAM user guide, "Grammar of the IAM JSON policy language".
type policyDocument struct {
	Version   string
	Statement []statement
}

type statement struct {
	Effect   string
	Action   []string
	Resource []string
}

func policy(s []statement) policyDocument { return policyDocument{"2012-10-17", s} }
