package awstest

import (
	"slices"
	"strconv"
)

// AWSAccount owns the prefix lists that AWS manages.
const AWSAccount = "AWS"

func describePrefixLists(c *call) (answer, error) {
	all := slices.DeleteFunc(sorted(c.t.prefixLists), func(l *PrefixList) bool { return l.Account != c.account && l.Account != AWSAccount })
	out, next, err := describe(c, listing[*PrefixList]{
		param: "PrefixListId", prefix: idList, malformed: "InvalidPrefixListId.Malformed", missing: "InvalidPrefixListID.NotFound", what: "prefix list ID",
		max:  100,
		id:   func(l *PrefixList) string { return l.ID },
		tags: func(l *PrefixList) map[string]string { return l.Tags },
		filters: map[string]func(*PrefixList) []string{
			"owner-id":         func(l *PrefixList) []string { return one(l.Account) },
			"prefix-list-id":   func(l *PrefixList) []string { return one(l.ID) },
			"prefix-list-name": func(l *PrefixList) []string { return one(l.Name) },
		},
	}, all)
	if err != nil {
		return answer{}, err
	}
	n := set("prefixListSet", out, func(l *PrefixList) []node { return prefixListNodes(c, l) })
	for _, l := range out {
		c.w.progress(c, l)
	}
	return xmlAnswer(n, opt("nextToken", next))
}

func prefixListNodes(c *call, l *PrefixList) []node {
	n := []node{
		leaf("prefixListId", l.ID), leaf("prefixListName", l.Name), leaf("addressFamily", family(l.IPv6)), leaf("state", l.State),
		leaf("prefixListArn", "arn:aws:ec2:"+c.region+":"+l.Account+":prefix-list/"+l.ID), leaf("ownerId", l.Account), tagNodes(l.Tags),
	}
	if l.Account == AWSAccount { // of AWS's own lists EC2 tells neither size nor version
		return n
	}
	return append(n, leaf("maxEntries", l.MaxEntries), leaf("version", l.Version), opt("stateMessage", l.Message))
}

func family(v6 bool) string {
	if v6 {
		return "IPv6"
	}
	return "IPv4"
}

func getPrefixListEntries(c *call) (answer, error) {
	id := c.p.need("PrefixListId")
	version, given := c.p.number("TargetVersion")
	l := c.t.prefixLists[id]
	if l == nil || l.Account != c.account && l.Account != AWSAccount {
		return answer{}, refuse("InvalidPrefixListID.NotFound", "The prefix list ID '%s' does not exist", id)
	}
	if !given {
		version = l.Version
	}
	entries, ok := l.Versions[version]
	switch {
	case !ok:
		return answer{}, refuse("InvalidParameterValue", "The prefix list '%s' has no version %d", id, version)
	case l.State == "create-in-progress":
		return answer{}, refuse("IncorrectState", "prefix list (%s) is in state %s", id, l.State)
	}
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b Entry) int { return a.CIDR.Compare(b.CIDR) })
	// Ids in the token are places in the list, of as many digits each.
	place := map[string]int{}
	key := func(e Entry) string { return strconv.Itoa(100000 + place[e.CIDR.String()]) }
	for i, e := range entries {
		place[e.CIDR.String()] = i
	}
	out, next, err := describe(c, listing[Entry]{max: 100, id: key}, entries)
	if err != nil {
		return answer{}, err
	}
	return xmlAnswer(set("entrySet", out, func(e Entry) []node {
		return []node{leaf("cidr", e.CIDR), opt("description", e.Description)}
	}), opt("nextToken", next))
}

func describeImages(c *call) (answer, error) {
	owners := c.p.texts("Owner")
	c.p.texts("ExecutableBy")
	c.p.flag("IncludeDeprecated")
	c.p.flag("IncludeDisabled")
	all := slices.DeleteFunc(sorted(c.t.images), func(i *Image) bool {
		if !i.Public && i.Account != c.account {
			return true
		}
		return len(owners) > 0 && !slices.Contains(owners, i.Account) && !(slices.Contains(owners, "self") && i.Account == c.account)
	})
	out, next, err := describe(c, listing[*Image]{
		param: "ImageId", prefix: idImage, malformed: "InvalidAMIID.Malformed", missing: "InvalidAMIID.NotFound", what: "image id",
		id:   func(i *Image) string { return i.ID },
		tags: func(i *Image) map[string]string { return i.Tags },
		filters: map[string]func(*Image) []string{
			"image-id": func(i *Image) []string { return one(i.ID) },
			"name":     func(i *Image) []string { return one(i.Name) },
			"owner-id": func(i *Image) []string { return one(i.Account) },
			"platform": func(i *Image) []string { return one(i.Platform) },
		},
	}, all)
	if err != nil {
		return answer{}, err
	}
	return xmlAnswer(set("imagesSet", out, func(i *Image) []node {
		details := "Linux/UNIX"
		if i.Platform == "windows" {
			details = "Windows"
		}
		return []node{leaf("imageId", i.ID), leaf("name", i.Name), leaf("imageOwnerId", i.Account), leaf("imageState", "available"),
			leaf("isPublic", i.Public), opt("platform", i.Platform), leaf("platformDetails", details), leaf("architecture", "x86_64"), tagNodes(i.Tags)}
	}), opt("nextToken", next))
}

func describeLaunchTemplates(c *call) (answer, error) {
	c.p.flag("IncludeManagedResources")
	names := c.p.texts("LaunchTemplateName")
	all := ofAccount(c, c.t.templates, func(l *LaunchTemplate) string { return l.Account })
	if len(names) > 0 {
		all = slices.DeleteFunc(all, func(l *LaunchTemplate) bool { return !slices.Contains(names, l.Name) })
		if len(all) < len(names) {
			return answer{}, refuse("InvalidLaunchTemplateName.NotFoundException", "At least one of the launch templates specified in the request does not exist.")
		}
	}
	out, next, err := describe(c, listing[*LaunchTemplate]{
		param: "LaunchTemplateId", prefix: idTemplate, malformed: "InvalidLaunchTemplateId.Malformed", missing: "InvalidLaunchTemplateId.NotFound",
		what: "launch template ID", max: 200,
		id:   func(l *LaunchTemplate) string { return l.ID },
		tags: func(l *LaunchTemplate) map[string]string { return l.Tags },
		filters: map[string]func(*LaunchTemplate) []string{
			"launch-template-name": func(l *LaunchTemplate) []string { return one(l.Name) },
		},
	}, all)
	if err != nil {
		return answer{}, err
	}
	return xmlAnswer(set("launchTemplates", out, func(l *LaunchTemplate) []node {
		return []node{leaf("launchTemplateId", l.ID), leaf("launchTemplateName", l.Name), leaf("defaultVersionNumber", l.Default),
			leaf("latestVersionNumber", len(l.Versions)), tagNodes(l.Tags)}
	}), opt("nextToken", next))
}

// templateVersion is one version with the template that it is of.
type templateVersion struct {
	LaunchVersion
	of     *LaunchTemplate
	number int
}

func describeLaunchTemplateVersions(c *call) (answer, error) {
	c.p.flag("IncludeManagedResources")
	c.p.flag("ResolveAlias")
	id, name := c.p.str("LaunchTemplateId"), c.p.str("LaunchTemplateName")
	wanted := c.p.texts("LaunchTemplateVersion")
	var all []templateVersion
	for _, l := range ofAccount(c, c.t.templates, func(l *LaunchTemplate) string { return l.Account }) {
		switch {
		case id == "" && name == "" && len(wanted) == 0:
			return answer{}, refuse("MissingParameter", "Either launch template ID or version $Latest or $Default must be specified")
		case id != "" && l.ID != id, name != "" && l.Name != name:
			continue
		}
		for _, s := range wanted {
			if n, err := strconv.Atoi(s); err == nil && (n < 1 || n > len(l.Versions)) {
				return answer{}, refuse("InvalidLaunchTemplateId.VersionNotFound", "Could not find launch template version %s for LaunchTemplateId: %s.", s, l.ID)
			}
		}
		for i, v := range l.Versions {
			n := i + 1
			latest, standard := n == len(l.Versions) && slices.Contains(wanted, "$Latest"), n == l.Default && slices.Contains(wanted, "$Default")
			if latest || standard || slices.Contains(wanted, strconv.Itoa(n)) && (id != "" || name != "") || len(wanted) == 0 {
				all = append(all, templateVersion{v, l, n})
			}
		}
	}
	if id != "" && c.t.templates[id] == nil {
		return answer{}, refuse("InvalidLaunchTemplateId.NotFound", "The launch template ID '%s' does not exist", id)
	}
	out, next, err := describe(c, listing[templateVersion]{
		max: 200, id: func(v templateVersion) string { return v.of.ID + " " + strconv.Itoa(100000+v.number) },
	}, all)
	if err != nil {
		return answer{}, err
	}
	return xmlAnswer(set("launchTemplateVersionSet", out, func(v templateVersion) []node {
		data := []node{opt("imageId", v.Image), opt("instanceType", v.Type), setOf("securityGroupIdSet", v.Groups)}
		if v.Profile != "" {
			data = append(data, elem("iamInstanceProfile", leaf("arn", v.Profile)))
		}
		if len(v.InterfaceGroups) > 0 {
			g := node{name: "groupSet"}
			for _, id := range v.InterfaceGroups {
				g.kids = append(g.kids, leaf("groupId", id))
			}
			data = append(data, elem("networkInterfaceSet", elem("item", leaf("deviceIndex", 0), g)))
		}
		if len(v.InstanceTags) > 0 {
			data = append(data, elem("tagSpecificationSet", elem("item", leaf("resourceType", "instance"), tagNodes(v.InstanceTags))))
		}
		return []node{leaf("launchTemplateId", v.of.ID), leaf("launchTemplateName", v.of.Name), leaf("versionNumber", v.number),
			leaf("defaultVersion", v.number == v.of.Default), elem("launchTemplateData", data...)}
	}), opt("nextToken", next))
}
