package awstest

import (
	"slices"
	"strings"
)

// ScalingGroup is an Auto Scaling group: it starts instances by itself.
type ScalingGroup struct {
	Account, Name string
	// Template is the ID of a launch template and Version which one: a number, "$Default",
	// "$Latest" or "". Mixed are further ones, of a policy of mixed instances.
	Template, Version string
	Mixed             []TemplateUse
	Configuration     string // a launch configuration, in place of a template
}

// TemplateUse is a launch template by its ID, and a version of it.
type TemplateUse struct{ Template, Version string }

// AddScalingGroup makes an Auto Scaling group.
func (r Region) AddScalingGroup(s ScalingGroup) {
	r.change(func(t *tables) {
		s.Account = r.Account
		if s.Template == "" == (s.Configuration == "" && len(s.Mixed) == 0) {
			panic("awstest: a scaling group launches from one thing")
		}
		t.scaling[r.Account+" "+s.Name] = &s
	})
}

// The version of Auto Scaling's query protocol.
const scalingVersion = "2011-01-01"

func scalingActions() map[string]action {
	return map[string]action{"DescribeAutoScalingGroups": {run: describeScalingGroups}}
}

// Bounds of MaxRecords (Auto Scaling API reference, DescribeAutoScalingGroups).
const (
	usualRecords = 50
	mostRecords  = 100
)

func describeScalingGroups(c *call) (answer, error) {
	c.p.flag("IncludeInstances")
	var names []string
	if c.p.has("AutoScalingGroupNames") {
		names = c.p.at("AutoScalingGroupNames").texts("member")
	}
	most, given := c.p.number("MaxRecords")
	token := c.p.str("NextToken")
	if err := c.p.done(); err != nil {
		return answer{}, validation(err)
	}
	switch {
	case !given:
		most = usualRecords
	case most < 1 || most > mostRecords:
		return answer{}, refuse("ValidationError", "1 validation error detected: Value '%d' at 'maxRecords' failed to satisfy constraint: Member must have value less than or equal to %d", most, mostRecords)
	}
	all := slices.DeleteFunc(ofAccount(c, c.t.scaling, func(g *ScalingGroup) string { return g.Account }), func(g *ScalingGroup) bool {
		return len(names) > 0 && !slices.Contains(names, g.Name)
	})
	slices.SortFunc(all, func(a, b *ScalingGroup) int { return strings.Compare(a.Name, b.Name) })
	asked := c.asked(names, nil)
	if token != "" {
		p, err := c.w.open(token)
		if err != nil || p.Asked != asked {
			return answer{}, refuse("InvalidNextToken", "The token '%s' is invalid.", token)
		}
		all = slices.DeleteFunc(all, func(g *ScalingGroup) bool { return g.Name <= p.Last })
	}
	next := ""
	if len(all) > most {
		all = all[:most]
		next = c.w.seal(page{Asked: asked, Last: all[most-1].Name})
	}
	groups := node{name: "AutoScalingGroups"}
	for _, g := range all {
		groups.kids = append(groups.kids, elem("member", c.scalingNodes(g)...))
	}
	return xmlAnswer(groups, opt("NextToken", next))
}

// validation is what this service calls parameters that are wrong.
func validation(err error) error {
	return refuse("ValidationError", "%s", asError(err).Message)
}

func (c *call) scalingNodes(g *ScalingGroup) []node {
	n := []node{
		leaf("AutoScalingGroupName", g.Name), leaf("AutoScalingGroupARN", "arn:aws:autoscaling:"+c.region+":"+g.Account+":autoScalingGroup:x:autoScalingGroupName/"+g.Name),
		leaf("MinSize", 1), leaf("MaxSize", 10), leaf("DesiredCapacity", 1), leaf("DefaultCooldown", 300), leaf("HealthCheckType", "EC2"), opt("LaunchConfigurationName", g.Configuration),
	}
	spec := func(name string, u TemplateUse) node {
		k := []node{leaf("LaunchTemplateId", u.Template)}
		if l := c.t.templates[u.Template]; l != nil { // it may be gone, and the group not notice until it launches
			k = append(k, leaf("LaunchTemplateName", l.Name))
		}
		return elem(name, append(k, opt("Version", u.Version))...)
	}
	if g.Template != "" {
		n = append(n, spec("LaunchTemplate", TemplateUse{g.Template, g.Version}))
	}
	if len(g.Mixed) > 0 {
		over := node{name: "Overrides"}
		for _, u := range g.Mixed[1:] {
			over.kids = append(over.kids, elem("member", leaf("InstanceType", "c7i.large"), spec("LaunchTemplateSpecification", u)))
		}
		n = append(n, elem("MixedInstancesPolicy", elem("LaunchTemplate", spec("LaunchTemplateSpecification", g.Mixed[0]), over)))
	}
	return n
}
