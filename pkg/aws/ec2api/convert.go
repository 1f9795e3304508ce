package ec2api

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func tagsOf(list []types.Tag) map[string]string {
	if len(list) == 0 {
		return nil
	}
	out := make(map[string]string, len(list))
	for _, t := range list {
		out[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return out
}

func groupIDs(list []types.GroupIdentifier) []string {
	var out []string
	for _, g := range list {
		out = append(out, aws.ToString(g.GroupId))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// iface reads an interface. PrivateIpAddress and Ipv6Address repeat one of the lists.
func (p *parser) iface(x *types.NetworkInterface) Interface {
	n := Interface{
		ID: aws.ToString(x.NetworkInterfaceId), VPC: aws.ToString(x.VpcId), Subnet: aws.ToString(x.SubnetId), Zone: aws.ToString(x.AvailabilityZone),
		Owner: aws.ToString(x.OwnerId), Type: string(x.InterfaceType), Status: string(x.Status), Description: aws.ToString(x.Description),
		MAC: aws.ToString(x.MacAddress), Groups: groupIDs(x.Groups), SourceDestCheck: x.SourceDestCheck == nil || *x.SourceDestCheck,
		Requester: aws.ToString(x.RequesterId), RequesterManaged: aws.ToBool(x.RequesterManaged), Tags: tagsOf(x.TagSet),
	}
	if a := x.Attachment; a != nil && a.Status != types.AttachmentStatusDetached {
		n.Instance, n.InstanceOwner, n.DeleteOnTermination = aws.ToString(a.InstanceId), aws.ToString(a.InstanceOwnerId), aws.ToBool(a.DeleteOnTermination)
		n.DeviceIndex = int(aws.ToInt32(a.DeviceIndex))
	}
	n.Operator = operator(x.Operator)
	if t := x.ConnectionTrackingConfiguration; t != nil {
		n.Tracking = tracking(t.TcpEstablishedTimeout, t.UdpStreamTimeout, t.UdpTimeout)
	}
	p.primary(&n, x.PrivateIpAddress)
	for _, a := range x.PrivateIpAddresses {
		p.add(&n, a.PrivateIpAddress)
		if a.Association != nil {
			p.public(&n, a.Association.PublicIp)
		}
	}
	if x.Association != nil {
		p.public(&n, x.Association.PublicIp)
	}
	p.add(&n, x.Ipv6Address)
	for _, a := range x.Ipv6Addresses {
		p.add(&n, a.Ipv6Address)
	}
	for _, d := range x.Ipv4Prefixes {
		p.delegated(&n, d.Ipv4Prefix)
	}
	for _, d := range x.Ipv6Prefixes {
		p.delegated(&n, d.Ipv6Prefix)
	}
	n.sort()
	return n
}

func tracking(tcp, stream, udp *int32) Tracking {
	seconds := func(n *int32) time.Duration { return time.Duration(aws.ToInt32(n)) * time.Second }
	return Tracking{seconds(tcp), seconds(stream), seconds(udp)}
}

// primary reads the address that an interface has from its birth on.
func (p *parser) primary(n *Interface, s *string) {
	if aws.ToString(s) == "" {
		return
	}
	if a, ok := p.addr(*s, n.ID); ok {
		n.Primary = a
		n.Addresses = append(n.Addresses, a)
	}
}

func (p *parser) add(n *Interface, s *string) {
	if aws.ToString(s) == "" {
		return
	}
	if a, ok := p.addr(*s, n.ID); ok {
		n.Addresses = append(n.Addresses, a)
	}
}

func (p *parser) public(n *Interface, s *string) {
	if aws.ToString(s) == "" {
		return
	}
	if a, ok := p.addr(*s, n.ID); ok {
		n.Public = append(n.Public, a)
	}
}

func (p *parser) delegated(n *Interface, s *string) {
	if x, ok := p.prefix(aws.ToString(s), n.ID); ok {
		n.Prefixes = append(n.Prefixes, x)
	}
}

func (n *Interface) sort() {
	n.Addresses, n.Public, n.Prefixes = sortedAddrs(n.Addresses), sortedAddrs(n.Public), sortedPrefixes(n.Prefixes)
}

func operator(o *types.OperatorResponse) string {
	if o == nil || !aws.ToBool(o.Managed) {
		return ""
	}
	return aws.ToString(o.Principal)
}

func (p *parser) instance(x *types.Instance, owner string) Instance {
	i := Instance{
		ID: aws.ToString(x.InstanceId), VPC: aws.ToString(x.VpcId), Subnet: aws.ToString(x.SubnetId), Owner: owner,
		Image: aws.ToString(x.ImageId), Type: string(x.InstanceType), Platform: cmp.Or(aws.ToString(x.PlatformDetails), string(x.Platform)), Architecture: string(x.Architecture),
		PrivateDNS: aws.ToString(x.PrivateDnsName), Launched: aws.ToTime(x.LaunchTime), Tags: tagsOf(x.Tags),
	}
	if x.State != nil {
		i.State = string(x.State.Name)
	}
	if x.Placement != nil {
		i.Zone = aws.ToString(x.Placement.AvailabilityZone)
	}
	if x.IamInstanceProfile != nil {
		i.Profile = aws.ToString(x.IamInstanceProfile.Arn)
	}
	for j := range x.NetworkInterfaces {
		i.Interfaces = append(i.Interfaces, p.nested(&x.NetworkInterfaces[j], &i))
	}
	slices.SortFunc(i.Interfaces, func(a, b Interface) int { return a.DeviceIndex - b.DeviceIndex })
	return i
}

// nested reads an interface as its instance names it.
func (p *parser) nested(x *types.InstanceNetworkInterface, i *Instance) Interface {
	n := Interface{
		ID: aws.ToString(x.NetworkInterfaceId), VPC: aws.ToString(x.VpcId), Subnet: aws.ToString(x.SubnetId), Owner: aws.ToString(x.OwnerId),
		Type: aws.ToString(x.InterfaceType), Status: string(x.Status), Description: aws.ToString(x.Description), MAC: aws.ToString(x.MacAddress),
		Groups: groupIDs(x.Groups), Instance: i.ID, InstanceOwner: i.Owner, SourceDestCheck: x.SourceDestCheck == nil || *x.SourceDestCheck,
		Operator: operator(x.Operator),
	}
	if x.Attachment != nil {
		n.DeviceIndex, n.DeleteOnTermination = int(aws.ToInt32(x.Attachment.DeviceIndex)), aws.ToBool(x.Attachment.DeleteOnTermination)
	}
	if t := x.ConnectionTrackingConfiguration; t != nil {
		n.Tracking = tracking(t.TcpEstablishedTimeout, t.UdpStreamTimeout, t.UdpTimeout)
	}
	p.primary(&n, x.PrivateIpAddress)
	for _, a := range x.PrivateIpAddresses {
		p.add(&n, a.PrivateIpAddress)
		if a.Association != nil {
			p.public(&n, a.Association.PublicIp)
		}
	}
	if x.Association != nil {
		p.public(&n, x.Association.PublicIp)
	}
	for _, a := range x.Ipv6Addresses {
		p.add(&n, a.Ipv6Address)
	}
	for _, d := range x.Ipv4Prefixes {
		p.delegated(&n, d.Ipv4Prefix)
	}
	for _, d := range x.Ipv6Prefixes {
		p.delegated(&n, d.Ipv6Prefix)
	}
	n.sort()
	return n
}

// vpc reads a VPC with the blocks that are associated with it, not those that are
// coming or going.
func (p *parser) vpc(x *types.Vpc) VPC {
	v := VPC{ID: aws.ToString(x.VpcId), Owner: aws.ToString(x.OwnerId), Default: aws.ToBool(x.IsDefault), Tags: tagsOf(x.Tags)}
	for _, b := range x.CidrBlockAssociationSet {
		if b.CidrBlockState != nil && b.CidrBlockState.State == types.VpcCidrBlockStateCodeAssociated {
			v.CIDRs = p.block(v.CIDRs, b.CidrBlock, v.ID)
		}
	}
	for _, b := range x.Ipv6CidrBlockAssociationSet {
		if b.Ipv6CidrBlockState != nil && b.Ipv6CidrBlockState.State == types.VpcCidrBlockStateCodeAssociated {
			v.CIDRs = p.block(v.CIDRs, b.Ipv6CidrBlock, v.ID)
		}
	}
	if aws.ToString(x.CidrBlock) != "" {
		n := len(v.CIDRs)
		v.CIDRs = p.block(v.CIDRs, x.CidrBlock, v.ID) // it repeats the first of the associations
		if len(v.CIDRs) > n {
			v.Primary = v.CIDRs[n]
		}
	}
	v.CIDRs = sortedPrefixes(v.CIDRs)
	return v
}

func (p *parser) subnet(x *types.Subnet) Subnet {
	s := Subnet{ID: aws.ToString(x.SubnetId), VPC: aws.ToString(x.VpcId), Zone: aws.ToString(x.AvailabilityZone), Owner: aws.ToString(x.OwnerId), Tags: tagsOf(x.Tags)}
	if aws.ToString(x.CidrBlock) != "" { // there is none in a subnet that is IPv6 only
		s.CIDRs = p.block(s.CIDRs, x.CidrBlock, s.ID)
	}
	for _, b := range x.Ipv6CidrBlockAssociationSet {
		if b.Ipv6CidrBlockState != nil && b.Ipv6CidrBlockState.State == types.SubnetCidrBlockStateCodeAssociated {
			s.CIDRs = p.block(s.CIDRs, b.Ipv6CidrBlock, s.ID)
		}
	}
	s.CIDRs = sortedPrefixes(s.CIDRs)
	return s
}

func (p *parser) block(to []netip.Prefix, s *string, of string) []netip.Prefix {
	if x, ok := p.prefix(aws.ToString(s), of); ok {
		return append(to, x)
	}
	return to
}

func (p *parser) peering(x *types.VpcPeeringConnection) Peering {
	out := Peering{ID: aws.ToString(x.VpcPeeringConnectionId)}
	if x.Status != nil {
		out.Status = string(x.Status.Code)
	}
	out.Requester, out.Accepter = p.peer(x.RequesterVpcInfo, out.ID), p.peer(x.AccepterVpcInfo, out.ID)
	return out
}

func (p *parser) peer(x *types.VpcPeeringConnectionVpcInfo, of string) PeerVPC {
	if x == nil {
		return PeerVPC{}
	}
	v := PeerVPC{VPC: aws.ToString(x.VpcId), Owner: aws.ToString(x.OwnerId), Region: aws.ToString(x.Region)}
	if aws.ToString(x.CidrBlock) != "" {
		v.CIDRs = p.block(v.CIDRs, x.CidrBlock, of)
	}
	for _, b := range x.CidrBlockSet {
		v.CIDRs = p.block(v.CIDRs, b.CidrBlock, of)
	}
	for _, b := range x.Ipv6CidrBlockSet {
		v.CIDRs = p.block(v.CIDRs, b.Ipv6CidrBlock, of)
	}
	v.CIDRs = sortedPrefixes(v.CIDRs)
	return v
}
