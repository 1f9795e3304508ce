package ec2api

import "strings"

// Service is whose an interface is that a service of AWS made: its security groups are
// changed by the service's own call, and ModifyNetworkInterfaceAttribute is refused.
type Service struct {
	Name     string // "rds", "load-balancer", ...; "aws" for one that is not told apart
	Resource string // which load balancer, file system, ...; "" where the interface does not say
	Call     string // the IAM action of the call that changes the groups; "" if there is none
}

// The calls by which services change the groups of their interfaces: the references of
// the services, VpcSecurityGroupIds, SecurityGroups or the like.
var serviceCalls = map[string]string{
	"api-gateway":   "apigateway:UpdateVpcLink",
	"codebuild":     "codebuild:UpdateProject",
	"directory":     "",
	"dms":           "dms:ModifyReplicationInstance",
	"ecs":           "ecs:UpdateService",
	"efs":           "elasticfilesystem:ModifyMountTargetSecurityGroups",
	"eks":           "eks:UpdateClusterConfig",
	"elasticache":   "elasticache:ModifyCacheCluster",
	"lambda":        "lambda:UpdateFunctionConfiguration",
	"load-balancer": "elasticloadbalancing:SetSecurityGroups",
	"opensearch":    "es:UpdateDomainConfig",
	"quicksight":    "quicksight:UpdateVPCConnection",
	"rds":           "rds:ModifyDBInstance",
	"redshift":      "redshift:ModifyCluster",
	"vpc-endpoint":  "ec2:ModifyVpcEndpoint",
}

// byType are the interface types of services (EC2 API reference, NetworkInterface).
var byType = map[string]string{
	"api_gateway_managed":              "api-gateway",
	"aws_codestar_connections_managed": "codestar",
	"gateway_load_balancer":            "gateway-load-balancer",
	"gateway_load_balancer_endpoint":   "gateway-load-balancer",
	"global_accelerator_managed":       "global-accelerator",
	"iot_rules_managed":                "iot",
	"lambda":                           "lambda",
	"load_balancer":                    "load-balancer",
	"natGateway":                       "nat-gateway",
	"nat_gateway":                      "nat-gateway",
	"network_load_balancer":            "load-balancer",
	"quicksight":                       "quicksight",
	"transit_gateway":                  "transit-gateway",
	"vpc_endpoint":                     "vpc-endpoint",
}

// byDescription are what services write into the description of their interfaces. AWS
// promises none of it; what is not recognised is "aws", and as much a service's.
var byDescription = []struct{ prefix, service string }{
	{"ELB ", "load-balancer"},
	{"RDSNetworkInterface", "rds"},
	{"EFS mount target for ", "efs"},
	{"ElastiCache ", "elasticache"},
	{"Amazon EKS ", "eks"},
	{"RedshiftNetworkInterface", "redshift"},
	{"DMSNetworkInterface", "dms"},
	{"ES ", "opensearch"},
	{"AWS created network interface for directory ", "directory"},
	{"AWS Lambda VPC ENI-", "lambda"},
	{"arn:aws:ecs:", "ecs"},
	{"VPC Endpoint Interface ", "vpc-endpoint"},
	{"Interface for NAT Gateway ", "nat-gateway"},
	{"Network Interface for Transit Gateway Attachment ", "transit-gateway"},
}

// byRequester are the names under which services ask for interfaces, where that is a name.
var byRequester = map[string]string{
	"amazon-aws":           "",
	"amazon-elasticache":   "elasticache",
	"amazon-elasticsearch": "opensearch",
	"amazon-elb":           "load-balancer",
	"amazon-rds":           "rds",
	"amazon-redshift":      "redshift",
}

// Service says which service an interface belongs to, and false if it is the account's
// own. Pods' interfaces ("branch") are the account's: a controller in its cluster made
// them.
func (n *Interface) Service() (Service, bool) {
	name, typed := byType[n.Type]
	if !typed && !n.RequesterManaged && n.Operator == "" {
		return Service{}, false
	}
	for _, d := range byDescription {
		if rest, ok := strings.CutPrefix(n.Description, d.prefix); ok && (name == "" || name == d.service) {
			return made(d.service, n.resource(d.service, rest)), true
		}
	}
	if name == "" {
		name = byRequester[n.Requester]
	}
	if name == "" {
		name = "aws"
	}
	return made(name, ""), true
}

func made(service, resource string) Service {
	return Service{service, resource, serviceCalls[service]}
}

// resource is what a description names after its prefix.
func (n *Interface) resource(service, rest string) string {
	switch service {
	case "ecs":
		return n.Description // all of it is the ARN of an attachment
	case "lambda":
		// AWS Lambda VPC ENI-NAME-UUID: the function that the interface was made for, of
		// those that share it.
		const uuid = len("-00000000-0000-0000-0000-000000000000")
		if len(rest) > uuid && rest[len(rest)-uuid] == '-' {
			return rest[:len(rest)-uuid]
		}
	}
	rest, _, _ = strings.Cut(rest, " ") // EFS names the mount target, too
	return rest
}
