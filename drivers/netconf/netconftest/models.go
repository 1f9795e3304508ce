package netconftest

// Keys gives Options.Keys for the models of lists that are written, by the name of the dialect:
// RFC 8519, openconfig-acl, and the filters of Junos.
func Keys(dialect string) map[string][]string { return keys[dialect] }

var keys = map[string]map[string][]string{
	"ietf": {"/acls/acl": {"name"}, "/acls/acl/aces/ace": {"name"}, "/acls/attachment-points/interface": {"interface-id"},
		"/acls/attachment-points/interface/ingress/acl-sets/acl-set": {"name"}, "/acls/attachment-points/interface/egress/acl-sets/acl-set": {"name"}},
	"openconfig": {"/acl/acl-sets/acl-set": {"name", "type"}, "/acl/acl-sets/acl-set/acl-entries/acl-entry": {"sequence-id"}, "/acl/interfaces/interface": {"id"},
		"/acl/interfaces/interface/ingress-acl-sets/ingress-acl-set": {"set-name", "type"}, "/acl/interfaces/interface/egress-acl-sets/egress-acl-set": {"set-name", "type"}},
	"junos": {"/configuration/firewall/family/ethernet-switching/filter": {"name"}, "/configuration/firewall/family/ethernet-switching/filter/term": {"name"},
		"/configuration/interfaces/interface": {"name"}, "/configuration/interfaces/interface/unit": {"name"}},
}
