package aws

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"bulkhead/pkg/aws/ec2api"
)

// launchTime bounds the reads of what instances will be launched from: they are told to
// people, and keep nothing from being enforced.
const launchTime = 10 * time.Second

// maxLaunches bounds how many of them notes name.
const maxLaunches = 8

// Launches are what new instances are started from. A new instance carries the groups that
// these name until a pass has moved its interfaces.
type Launches struct {
	List   []Launch // in order of template and version
	Unread []string // what could not be read, and why
}

// Launch is a version of a launch template that something launches from, or a launch
// configuration.
type Launch struct {
	Template, Name string // Template is "" for a launch configuration
	Version        int64
	Default        bool
	Latest         bool
	Unseen         string // why its groups are not known; "" if they are
	Scaling        []string
	Interfaces     [][]string // IDs of groups
}

// launches reads them. Whatever fails is noted, and no error.
func (d *Driver) launches(ctx context.Context) *Launches {
	ctx, stop := context.WithTimeout(ctx, launchTime)
	defer stop()
	out := &Launches{}
	c, err := d.client(ctx)
	if err != nil {
		out.unread("launch templates and scaling groups", err)
		return out
	}
	current, err := c.CurrentTemplateVersions(ctx)
	if err != nil {
		out.unread("launch templates", err)
		return out
	}
	scaling, err := c.ScalingGroups(ctx)
	if err != nil {
		out.unread("scaling groups, and the versions of launch templates that they use,", err)
	}
	out.add(current)
	more := out.use(scaling)
	for _, l := range more {
		versions, err := c.TemplateVersions(ctx, out.List[l].Template, out.List[l].Version)
		switch {
		case err == nil && len(versions) == 1:
			out.List[l].Unseen, out.List[l].Interfaces = "", versions[0].Interfaces
		case err != nil && ec2api.KindOf(err) != ec2api.NotFound && !strings.HasSuffix(ec2api.CodeOf(err), ".VersionNotFound"):
			out.List[l].Unseen = fmt.Sprintf("it could not be read: %v", err)
		}
	}
	slices.SortFunc(out.List, func(a, b Launch) int {
		return cmp.Or(strings.Compare(a.Template, b.Template), cmp.Compare(a.Version, b.Version), strings.Compare(a.Name, b.Name))
	})
	return out
}

func (l *Launches) unread(what string, err error) {
	l.Unread = append(l.Unread, fmt.Sprintf("what new instances start with is not all known: %s could not be read: %v", what, err))
}

// add takes the default and latest versions of templates, in order.
func (l *Launches) add(current []ec2api.TemplateVersion) {
	for i, v := range current {
		last := i+1 == len(current) || current[i+1].Template != v.Template
		l.List = append(l.List, Launch{Template: v.Template, Name: v.Name, Version: v.Version, Default: v.Default, Latest: last, Interfaces: v.Interfaces})
	}
}

// use notes which versions scaling groups launch from, and gives the places of those that
// are neither the default nor the latest, and so were not read.
func (l *Launches) use(groups []ec2api.ScalingGroup) (more []int) {
	for _, g := range groups {
		if g.Configuration != "" {
			l.List = append(l.List, Launch{Name: g.Configuration, Scaling: []string{g.Name}})
		}
		for _, u := range g.Templates {
			x := l.named(u)
			if x == nil {
				n := Launch{Template: l.template(u), Name: u.Name, Unseen: "it is not there"}
				if v, err := strconv.ParseInt(u.Version, 10, 64); err == nil && n.Template != "" {
					n.Version = v
					more = append(more, len(l.List))
				}
				l.List = append(l.List, n)
				x = &l.List[len(l.List)-1]
			}
			x.Scaling = append(x.Scaling, g.Name)
		}
	}
	return more
}

// template is the ID of a template that may be told by its name; the name, where there is
// none that is called so.
func (l *Launches) template(u ec2api.TemplateUse) string {
	for _, x := range l.List {
		if u.Template == "" && x.Name == u.Name && x.Template != "" {
			return x.Template
		}
	}
	return cmp.Or(u.Template, u.Name)
}

// named finds what a scaling group means.
func (l *Launches) named(u ec2api.TemplateUse) *Launch {
	i := slices.IndexFunc(l.List, func(x Launch) bool {
		if u.Template != "" && x.Template != u.Template || u.Template == "" && x.Name != u.Name || x.Template == "" {
			return false
		}
		switch u.Version {
		case "$Default":
			return x.Default
		case "$Latest":
			return x.Latest
		}
		return fmt.Sprint(x.Version) == u.Version
	})
	if i < 0 {
		return nil
	}
	return &l.List[i]
}

// exposed names what new instances are started from that is not ours, and for how long they
// are what it makes them. Asked is how often the sources are asked.
func (s *State) exposed(asked time.Duration, within []string) []string {
	if s.Launches == nil {
		return nil
	}
	var list []*Launch
	for i := range s.Launches.List {
		if l := &s.Launches.List[i]; l.Unseen != "" || l.Template == "" || slices.ContainsFunc(l.Interfaces, func(set []string) bool { return s.opens(set, within) }) {
			list = append(list, l)
		}
	}
	// What launches by itself first.
	slices.SortStableFunc(list, func(a, b *Launch) int { return min(len(b.Scaling), 1) - min(len(a.Scaling), 1) })
	var out []string
	for _, l := range list[:min(len(list), maxLaunches)] {
		out = append(out, "new instances: "+s.told(l, within))
	}
	if n := len(list) - maxLaunches; n > 0 {
		out = append(out, fmt.Sprintf("new instances: %d more launch templates and configurations name no groups of ours", n))
	}
	if len(list) > 0 {
		when := "until its addresses are in the inventory and a pass has moved its interface; nothing that is asked tells of new machines here"
		if asked > 0 {
			when = fmt.Sprintf("until a pass has moved its interface: the daemon asks for new machines at most %s apart, a scheduled job when it runs, and the pass comes on top", span(asked))
		}
		out = append(out, "such an instance is open to what those groups let through from its launch "+when)
	}
	return append(out, s.Launches.Unread...)
}

// opens reports whether an interface that is started with some groups is without an
// identity of ours, in one of the VPCs if any are named.
func (s *State) opens(set, within []string) bool {
	elsewhere := len(within) > 0 && len(set) > 0
	for _, id := range set {
		if slices.ContainsFunc(s.Groups, func(g Group) bool { return g.ID == id && g.Ours && g.Of == "" }) {
			return false
		}
		if vpc, ok := s.vpcOf[id]; !ok || slices.Contains(within, vpc) {
			elsewhere = false
		}
	}
	return !elsewhere
}

func (s *State) told(l *Launch, within []string) string {
	what := fmt.Sprintf("launch template %q (%s), version %d", l.Name, l.Template, l.Version)
	if l.Template == "" {
		what = fmt.Sprintf("launch configuration %q", l.Name)
	}
	var marks []string
	if l.Default {
		marks = append(marks, "default")
	}
	if l.Latest {
		marks = append(marks, "latest")
	}
	if len(marks) > 0 {
		what += " (" + strings.Join(marks, ", ") + ")"
	}
	if len(l.Scaling) > 0 {
		var names []string
		for _, n := range slices.Compact(slices.Sorted(slices.Values(l.Scaling))) {
			names = append(names, fmt.Sprintf("%q", n))
		}
		what += ", used by scaling group " + someOf(names, 2)
	}
	switch {
	case l.Unseen != "":
		return what + ": " + l.Unseen
	case l.Template == "":
		return what + ": which groups it names is not read; move it to a launch template"
	}
	var names []string
	for _, set := range l.Interfaces {
		if !s.opens(set, within) {
			continue
		}
		if len(set) == 0 {
			names = append(names, "none that it names: the VPC's default group, or what whoever launches says")
		}
		names = append(names, set...)
	}
	slices.Sort(names)
	return what + ": starts with groups of others: " + someOf(slices.Compact(names), 4)
}
