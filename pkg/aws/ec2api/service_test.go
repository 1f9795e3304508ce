package ec2api

import "testing"

// Whose an interface is, by what AWS says of it.
func TestService(t *testing.T) {
	for _, tt := range []struct {
		name string
		n    Interface
		want Service
		is   bool
	}{
		{"an instance's", Interface{Type: "interface", Description: "Primary network interface"}, Service{}, false},
		{"a description can be anybody's", Interface{Type: "interface", Description: "RDSNetworkInterface"}, Service{}, false},
		{"a pod's", Interface{Type: "branch", Description: "aws-k8s-branch-eni"}, Service{}, false},
		{"a node's", Interface{Type: "trunk", Description: "aws-k8s-trunk-eni"}, Service{}, false},
		{"RDS", Interface{Type: "interface", RequesterManaged: true, Requester: "amazon-rds", Description: "RDSNetworkInterface"}, Service{"rds", "", "rds:ModifyDBInstance"}, true},
		{"RDS by its name", Interface{Type: "interface", RequesterManaged: true, Requester: "amazon-rds"}, Service{"rds", "", "rds:ModifyDBInstance"}, true},
		{
			"ALB", Interface{Type: "interface", RequesterManaged: true, Requester: "amazon-elb", Description: "ELB app/shop/0123456789abcdef"},
			Service{"load-balancer", "app/shop/0123456789abcdef", "elasticloadbalancing:SetSecurityGroups"}, true,
		},
		{
			"NLB", Interface{Type: "network_load_balancer", RequesterManaged: true, Description: "ELB net/shop/0123456789abcdef"},
			Service{"load-balancer", "net/shop/0123456789abcdef", "elasticloadbalancing:SetSecurityGroups"}, true,
		},
		{
			"EFS", Interface{Type: "interface", RequesterManaged: true, Requester: "111122223333", Description: "EFS mount target for fs-01234567 (fsmt-01234567)"},
			Service{"efs", "fs-01234567", "elasticfilesystem:ModifyMountTargetSecurityGroups"}, true,
		},
		{
			"an endpoint", Interface{Type: "vpc_endpoint", RequesterManaged: true, Description: "VPC Endpoint Interface vpce-0123456789abcdef0"},
			Service{"vpc-endpoint", "vpce-0123456789abcdef0", "ec2:ModifyVpcEndpoint"}, true,
		},
		{
			"Lambda", Interface{Type: "lambda", RequesterManaged: true, Description: "AWS Lambda VPC ENI-daily-report-01234567-89ab-cdef-0123-456789abcdef"},
			Service{"lambda", "daily-report", "lambda:UpdateFunctionConfiguration"}, true,
		},
		{"a NAT gateway", Interface{Type: "nat_gateway", RequesterManaged: true, Description: "Interface for NAT Gateway nat-0123456789abcdef0"}, Service{"nat-gateway", "nat-0123456789abcdef0", ""}, true},
		{"a NAT gateway of the SDK's spelling", Interface{Type: "natGateway"}, Service{"nat-gateway", "", ""}, true},
		{"EKS", Interface{Type: "interface", RequesterManaged: true, Description: "Amazon EKS main"}, Service{"eks", "main", "eks:UpdateClusterConfig"}, true},
		{"a task", Interface{Type: "interface", RequesterManaged: true, Description: "arn:aws:ecs:eu-central-1:111122223333:attachment/x"}, Service{"ecs", "arn:aws:ecs:eu-central-1:111122223333:attachment/x", "ecs:UpdateService"}, true},
		{"nobody knows whose", Interface{Type: "interface", RequesterManaged: true, Description: "something new"}, Service{"aws", "", ""}, true},
		{"managed by an operator", Interface{Type: "interface", Operator: "new.amazonaws.com"}, Service{"aws", "", ""}, true},
		{"the type holds against the description", Interface{Type: "transit_gateway", RequesterManaged: true, Description: "ELB app/x/1"}, Service{"transit-gateway", "", ""}, true},
	} {
		if got, is := tt.n.Service(); got != tt.want || is != tt.is {
			t.Errorf("%s: %+v %t, want %+v %t", tt.name, got, is, tt.want, tt.is)
		}
	}
}
