package ec2api

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// The most that a page may hold. Without a number EC2 answers in one piece, and counts
// the call against a smaller bucket.
const (
	pageSize        = 1000
	pageSizeSmall   = 200 // launch templates
	pageSizeLists   = 100 // prefix lists and their entries
	pageSizeLambda  = 50
	pageSizeScaling = 100
	maxFilter       = 200 // values of one filter
)

// hidden asks for what services of AWS manage and the account has hidden from its own
// eyes, too: it is on the network, visible or not.
const hidden = true

// in is a filter; nil where there are no values, which asks for everything.
func in(name string, values []string) []types.Filter {
	if len(values) == 0 {
		return nil
	}
	return []types.Filter{{Name: &name, Values: values}}
}

// Instances reads the instances, those of some VPCs if any are named, in order of ID.
// Terminated ones are among them, for about an hour.
func (c *Client) Instances(ctx context.Context, vpcs ...string) ([]Instance, error) {
	all, err := list(ctx, c, describeInstances, func(token *string) ([]types.Reservation, *string, error) {
		out, err := c.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{IncludeManagedResources: aws.Bool(hidden), Filters: in("vpc-id", vpcs), MaxResults: aws.Int32(pageSize), NextToken: token})
		if err != nil {
			return nil, nil, err
		}
		return out.Reservations, out.NextToken, nil
	})
	if err != nil {
		return nil, err
	}
	var p parser
	var list []Instance
	for i := range all {
		if len(all[i].Instances) == 0 {
			return nil, c.malformed(describeInstances, "has no instances in reservation %q", aws.ToString(all[i].ReservationId))
		}
		for j := range all[i].Instances {
			list = append(list, p.instance(&all[i].Instances[j], aws.ToString(all[i].OwnerId)))
		}
	}
	return inOrder(c, describeInstances, &p, list, func(x Instance) string { return x.ID })
}

// Interfaces reads the network interfaces, those of some VPCs if any are named, in
// order of ID.
func (c *Client) Interfaces(ctx context.Context, vpcs ...string) ([]Interface, error) {
	all, err := list(ctx, c, describeInterfaces, func(token *string) ([]types.NetworkInterface, *string, error) {
		out, err := c.ec2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{IncludeManagedResources: aws.Bool(hidden), Filters: in("vpc-id", vpcs), MaxResults: aws.Int32(pageSize), NextToken: token})
		if err != nil {
			return nil, nil, err
		}
		return out.NetworkInterfaces, out.NextToken, nil
	})
	if err != nil {
		return nil, err
	}
	var p parser
	var list []Interface
	for i := range all {
		list = append(list, p.iface(&all[i]))
	}
	return inOrder(c, describeInterfaces, &p, list, func(x Interface) string { return x.ID })
}

// VPCs reads the VPCs, some of them if any are named, in order of ID. One that does not
// exist is left out, and no error.
func (c *Client) VPCs(ctx context.Context, ids ...string) ([]VPC, error) {
	all, err := list(ctx, c, describeVPCs, func(token *string) ([]types.Vpc, *string, error) {
		out, err := c.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: in("vpc-id", ids), MaxResults: aws.Int32(pageSize), NextToken: token})
		if err != nil {
			return nil, nil, err
		}
		return out.Vpcs, out.NextToken, nil
	})
	if err != nil {
		return nil, err
	}
	var p parser
	var list []VPC
	for i := range all {
		list = append(list, p.vpc(&all[i]))
	}
	return inOrder(c, describeVPCs, &p, list, func(x VPC) string { return x.ID })
}

// Subnets reads the subnets, those of some VPCs if any are named, in order of ID.
func (c *Client) Subnets(ctx context.Context, vpcs ...string) ([]Subnet, error) {
	all, err := list(ctx, c, describeSubnets, func(token *string) ([]types.Subnet, *string, error) {
		out, err := c.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: in("vpc-id", vpcs), MaxResults: aws.Int32(pageSize), NextToken: token})
		if err != nil {
			return nil, nil, err
		}
		return out.Subnets, out.NextToken, nil
	})
	if err != nil {
		return nil, err
	}
	var p parser
	var list []Subnet
	for i := range all {
		list = append(list, p.subnet(&all[i]))
	}
	return inOrder(c, describeSubnets, &p, list, func(x Subnet) string { return x.ID })
}

// Peerings reads the peering connections, in order of ID; deleted ones are among them
// for a while.
func (c *Client) Peerings(ctx context.Context) ([]Peering, error) {
	all, err := list(ctx, c, describePeerings, func(token *string) ([]types.VpcPeeringConnection, *string, error) {
		out, err := c.ec2.DescribeVpcPeeringConnections(ctx, &ec2.DescribeVpcPeeringConnectionsInput{MaxResults: aws.Int32(pageSize), NextToken: token})
		if err != nil {
			return nil, nil, err
		}
		return out.VpcPeeringConnections, out.NextToken, nil
	})
	if err != nil {
		return nil, err
	}
	var p parser
	var list []Peering
	for i := range all {
		list = append(list, p.peering(&all[i]))
	}
	return inOrder(c, describePeerings, &p, list, func(x Peering) string { return x.ID })
}

// Images reads what the named images are, in order of ID. One that was taken back, or
// that the account may not see, is left out.
func (c *Client) Images(ctx context.Context, ids ...string) ([]Image, error) {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	var out []Image
	for some := range slices.Chunk(ids, maxFilter) {
		all, err := list(ctx, c, describeImages, func(token *string) ([]types.Image, *string, error) {
			out, err := c.ec2.DescribeImages(ctx, &ec2.DescribeImagesInput{Filters: in("image-id", some), MaxResults: aws.Int32(pageSize), NextToken: token})
			if err != nil {
				return nil, nil, err
			}
			return out.Images, out.NextToken, nil
		})
		if err != nil {
			return nil, err
		}
		for _, x := range all {
			out = append(out, Image{ID: aws.ToString(x.ImageId), Name: aws.ToString(x.Name), Owner: aws.ToString(x.OwnerId)})
		}
	}
	return inOrder(c, describeImages, &parser{}, out, func(x Image) string { return x.ID })
}

// inOrder sorts what was read. A thing that moved from one page to the next while they
// were read is there twice: then once. One without an ID is no answer.
func inOrder[T any](c *Client, a Action, p *parser, list []T, id func(T) string) ([]T, error) {
	if p.bad != "" {
		return nil, c.malformed(a, "%s", p.bad)
	}
	slices.SortStableFunc(list, func(x, y T) int { return cmp.Compare(id(x), id(y)) })
	list = slices.CompactFunc(list, func(x, y T) bool { return id(x) == id(y) })
	if len(list) > 0 && id(list[0]) == "" {
		return nil, c.malformed(a, "holds something without an ID")
	}
	return list, nil
}

func sortedAddrs(list []netip.Addr) []netip.Addr {
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}

func sortedPrefixes(list []netip.Prefix) []netip.Prefix {
	slices.SortFunc(list, netip.Prefix.Compare)
	return slices.Compact(list)
}
