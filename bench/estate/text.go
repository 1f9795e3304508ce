package estate

import (
	"fmt"
	"strings"

	"bulkhead/pkg/diag"
)

// The files of a site directory that an estate makes.
const (
	settingsFile = "bulkhead.yaml"
	assetsFile   = "inventory/estate.csv"
	groupsFile   = "policy/groups.yaml"
	servicesFile = "policy/services.yaml"
	policiesFile = "policy/policies.yaml"
)

// settings is a gateway with an interface to either side. Which addresses lie
// behind which is the routing table's to say.
const settings = `# A gateway between two networks, over which the hosts are strewn.
name: estate
points:
  gw:
    driver: nftables
    zones:
      left: {interfaces: [eth1], antispoof: "off"}
      right: {interfaces: [eth2], antispoof: "off"}
`

// page is a file in the making. What is written on it knows where it stands.
type page struct {
	file string
	text strings.Builder
	line int
}

// newPage begins a file with its top key.
func newPage(file, key string) *page {
	p := &page{file: file}
	p.put("%s:", key)
	return p
}

// put writes one line and returns the position of its first character.
func (p *page) put(format string, args ...any) diag.Pos {
	p.line++
	fmt.Fprintf(&p.text, format, args...)
	p.text.WriteByte('\n')
	return diag.Pos{File: p.file, Line: p.line, Col: 1}
}

// right moves a position by some columns.
func right(p diag.Pos, columns int) diag.Pos {
	p.Col += columns
	return p
}
