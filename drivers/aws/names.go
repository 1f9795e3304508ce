package aws

import (
	"fmt"
	"slices"
	"strings"
)

// The tags by which we know our own after a restart with no memory.
const (
	tagSite     = "bulkhead:site"     // of a group: whose it is
	tagOf       = "bulkhead:of"       // of an overflow group: the name of its identity group
	tagPoints   = "bulkhead:points"   // of an identity group; further ones are numbered
	tagFunction = "bulkhead:function" // of a group that a Lambda function has to itself: its ARN
	tagBefore   = "bulkhead:before"   // of an interface, or of a function's own group: SITE and the groups that there were before
)

// maxTag is how long the value of a tag may be (EC2 user guide, "Tag restrictions").
const maxTag = 256

// Name of a group: the site's, and a number. Names are unique in a VPC whatever their case,
// at most 255 characters of a set that holds all those of a site's name (EC2 API reference,
// CreateSecurityGroup).
func groupName(site string, n int) string { return fmt.Sprintf("bulkhead %s %d", plain(site), n) }

func overflowName(identity string, n int) string { return fmt.Sprintf("%s overflow %d", identity, n) }

func description(site string) string {
	return fmt.Sprintf("Written by Bulkhead for site %s; do not edit", plain(site))
}

// plain keeps what names and descriptions may hold, and not too much of it.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(" ._-", r)) {
			return r
		}
		return '_'
	}, s)
	return s[:min(len(s), 100)]
}

func key(vpc, name string) string { return vpc + "/" + strings.ToLower(name) }

// groupTags are the tags of a group of ours.
func groupTags(site string, g *Group, of string) map[string]string {
	out := map[string]string{tagSite: site, "Name": g.Name}
	if g.Of != "" {
		out[tagOf] = of
	}
	if g.Function != "" {
		out[tagFunction] = g.Function
	}
	if len(g.Before) > 0 {
		out[tagBefore], _ = beforeTag(site, g.Before) // at most five
	}
	for k, v := range pointTags(g.Points) {
		out[k] = v
	}
	return out
}

// pointTags spreads the names of points over as many tags as it takes.
func pointTags(points []string) map[string]string {
	out := map[string]string{}
	line := ""
	put := func() {
		if line != "" {
			out[pointTag(len(out))] = line
		}
	}
	for _, p := range points {
		switch {
		case line == "":
			line = p
		case len(line)+1+len(p) > maxTag:
			put()
			line = p
		default:
			line += " " + p
		}
	}
	put()
	return out
}

func pointTag(i int) string {
	if i == 0 {
		return tagPoints
	}
	return fmt.Sprintf("%s-%d", tagPoints, i+1)
}

func pointsOf(tags map[string]string) []string {
	var out []string
	for i := 0; ; i++ {
		v, ok := tags[pointTag(i)]
		if !ok {
			break
		}
		out = append(out, strings.Fields(v)...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// beforeTag writes down which groups an interface carried; ok is false if a tag cannot hold
// that.
func beforeTag(site string, groups []string) (v string, ok bool) {
	v = strings.Join(append([]string{site}, groups...), " ")
	return v, len(v) <= maxTag
}

// beforeOf reads the tag; nil if it is not this site's.
func beforeOf(site, v string) []string {
	f := strings.Fields(v)
	if len(f) < 2 || f[0] != site {
		return nil
	}
	return f[1:]
}

// keptGroup says why a group of somebody else's is never taken off an interface: something
// puts it back, or relies on it. "" if it may be.
func keptGroup(tags map[string]string) string {
	for k, v := range tags {
		low := strings.ToLower(k)
		switch {
		case strings.HasPrefix(low, "kubernetes.io/cluster/") || strings.HasPrefix(low, "aws:eks:") || strings.HasPrefix(low, "eks:"):
			return "it is a group of EKS"
		case strings.HasPrefix(low, "elbv2.k8s.aws/") || strings.HasPrefix(low, "ingress.k8s.aws/") || strings.HasPrefix(low, "service.k8s.aws/"):
			return "it is a load balancer controller's"
		case strings.Contains(low, "terraform") || strings.Contains(strings.ToLower(v), "terraform"):
			return "Terraform manages it"
		}
	}
	return ""
}
