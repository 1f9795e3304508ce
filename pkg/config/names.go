package config

import (
	"fmt"
	"net/netip"

	"bulkhead/pkg/config/strict"
)

// maxName is the longest name, in bytes: device objects are named after these.
const maxName = 63

// checkName says what is wrong with a name of a group, a policy, a point and so
// on. What names the kind of thing.
func checkName(what, name string) error {
	if len(name) > maxName {
		return fmt.Errorf("the name of this %s has %d characters, at most %d are allowed", what, len(name), maxName)
	}
	for i, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && r != '-' && r != '_' && r != '.' {
			return &strict.Mistake{
				Message: fmt.Sprintf("the %s name %q holds %q", what, name, r), Hint: "a name is made of letters, digits, and - _ .",
			}
		}
		if i == 0 && !letter {
			return fmt.Errorf("the %s name %q must begin with a letter or a digit", what, name)
		}
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return fmt.Errorf("the %s name %q is an address; names must not look like one", what, name)
	}
	return nil
}

// checkServiceName also refuses names that are literals: whoever reads "tcp" in
// a policy must not have to look up what the site means by it.
func checkServiceName(name string) error {
	if _, err := ParseService(name); err == nil {
		return fmt.Errorf("the service name %q is a literal already", name)
	}
	return checkName("service", name)
}
