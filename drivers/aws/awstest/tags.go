package awstest

import (
	"maps"
	"strings"
	"unicode/utf8"
)

// Bounds of tags, in characters. Of keys the API's reference says 127, and the user's
// guide 128.
const (
	maxTags     = 50
	maxTagKey   = 127
	maxTagValue = 256
	maxTagged   = 1000 // objects in one call
)

// ofAWS reports whether a tag is one that AWS alone sets, as aws:autoscaling:groupName.
func ofAWS(key string) bool { return strings.HasPrefix(strings.ToLower(key), "aws:") }

// tagList reads Tag.N.
func (p params) tagList() map[string]string {
	out := map[string]string{}
	for _, q := range p.list("Tag") {
		k, v := q.need("Key"), q.str("Value")
		switch _, twice := out[k]; {
		case twice:
			p.fail("InvalidParameterValue", "Duplicate tag key '%s' specified.", k)
		case utf8.RuneCountInString(k) > maxTagKey:
			p.fail("InvalidParameterValue", "Tag key exceeds the maximum length of %d characters", maxTagKey)
		case utf8.RuneCountInString(v) > maxTagValue:
			p.fail("InvalidParameterValue", "Tag value exceeds the maximum length of %d characters", maxTagValue)
		case ofAWS(k):
			p.fail("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
		}
		out[k] = v
	}
	if len(out) > maxTags {
		p.fail("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
	}
	return out
}

// tagSpecs reads the tags that a call gives to what it makes, which must be of one type.
func (p params) tagSpecs(of string) map[string]string {
	out := map[string]string{}
	for i, q := range p.list("TagSpecification") {
		if got := q.need("ResourceType"); got != of || i > 0 {
			p.fail("InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation, or is given twice.", got)
		}
		out = q.tagList()
	}
	return out
}

// taggable refuses ids of what is not there, or is not the account's.
func (c *call) taggable(ids []string) error {
	if len(ids) == 0 || len(ids) > maxTagged {
		return refuse("MissingParameter", "The request must contain the parameter resourceIdSet, of at most %d ids", maxTagged)
	}
	for _, id := range ids {
		kind, _, _ := strings.Cut(id, "-")
		missing, known := map[string]string{
			idVPC: "InvalidVpcID.NotFound", idSubnet: "InvalidSubnetID.NotFound", idInstance: "InvalidInstanceID.NotFound",
			idInterface: "InvalidNetworkInterfaceID.NotFound", idGroup: "InvalidGroup.NotFound",
			idRule: "InvalidSecurityGroupRuleId.NotFound", idList: "InvalidPrefixListID.NotFound",
		}[kind]
		if !known || !wellFormed(kind, id) {
			return refuse("InvalidID", "The ID '%s' is not valid", id)
		}
		if c.t.ownerOf(id) != c.account || kind == idGroup && c.w.hides(id) {
			return refuse(missing, "The ID '%s' does not exist", id)
		}
	}
	return nil
}

// ownerOf gives the account of an object that tags can be put on, or "".
func (t *tables) ownerOf(id string) string {
	switch {
	case t.vpcs[id] != nil:
		return t.vpcs[id].Account
	case t.subnets[id] != nil:
		return t.subnets[id].Account
	case t.instances[id] != nil:
		return t.instances[id].Account
	case t.interfaces[id] != nil:
		return t.interfaces[id].Account
	case t.groups[id] != nil:
		return t.groups[id].Account
	case t.prefixLists[id] != nil:
		return t.prefixLists[id].Account
	}
	for _, g := range t.groups {
		for _, r := range g.Rules {
			if r.ID == id {
				return g.Account
			}
		}
	}
	return ""
}

func createTags(c *call) (answer, error) {
	ids, tags := c.p.texts("ResourceId"), c.p.tagList()
	if len(tags) == 0 {
		c.p.fail("MissingParameter", "The request must contain the parameter tagSet")
	}
	if err := c.p.done(); err != nil {
		return answer{}, err
	}
	if err := c.taggable(ids); err != nil {
		return answer{}, err
	}
	for _, id := range ids {
		var n int
		c.t.retag(id, func(old map[string]string) map[string]string {
			all := named("", old)
			maps.Copy(all, tags)
			for k := range all {
				if !ofAWS(k) { // AWS's own are beside the count
					n++
				}
			}
			return all
		})
		if n > maxTags {
			return answer{}, refuse("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
		}
	}
	return done()
}

// deleteTags takes keys away, with a value only where the tag has that value, and with
// no keys all of them.
func deleteTags(c *call) (answer, error) {
	ids := c.p.texts("ResourceId")
	only := map[string]bool{} // keys that are given with a value
	for _, q := range c.p.list("Tag") {
		if q.has("Value") {
			only[q.str("Key")] = true
		}
	}
	tags := c.p.tagList()
	if err := c.p.done(); err != nil {
		return answer{}, err
	}
	if err := c.taggable(ids); err != nil {
		return answer{}, err
	}
	for _, id := range ids {
		c.t.retag(id, func(old map[string]string) map[string]string {
			out := map[string]string{}
			for k, v := range old {
				value, named := tags[k]
				if ofAWS(k) || len(tags) > 0 && !(named && (!only[k] || value == v)) {
					out[k] = v
				}
			}
			return out
		})
	}
	return done()
}
