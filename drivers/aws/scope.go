package aws

import (
	"fmt"
	"slices"

	"bulkhead/pkg/aws/ec2api"
)

// outside says why the groups of an interface are not ours to change; "" if they are.
// Services change the groups of their interfaces by calls of their own, and refuse others.
func (d *Driver) outside(x *ec2api.Interface) (why, service string) {
	if s, ok := x.Service(); ok {
		service = s.Name
		why = fmt.Sprintf("it belongs to the service %q", s.Name)
		if s.Call != "" {
			why += ", whose groups are changed by " + s.Call
		}
		return why, service
	}
	if len(d.settings.VPCs) > 0 && !slices.Contains(d.settings.VPCs, x.VPC) {
		return "it is in none of the VPCs of the settings", ""
	}
	if len(x.Groups) == 0 {
		return "it carries no security groups", ""
	}
	return "", ""
}
