package ovs

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// readMatches reads what an entry matches; without any it is the list's whole family.
func readMatches(e *element, family uint16) (Entry, error) {
	out := Entry{Ethertype: family}
	if e == nil {
		return out, nil
	}
	var four, six, tcp, udp, icmp *element
	if err := e.read(map[string]field{"ipv4": one(&four), "ipv6": one(&six), "tcp": one(&tcp), "udp": one(&udp), "icmp": one(&icmp)}); err != nil {
		return out, err
	}
	ip, word := four, "ipv4"
	if family == IPv6 {
		ip, word = six, "ipv6"
	}
	if four != nil && six != nil || ip == nil && (four != nil || six != nil) {
		return out, fmt.Errorf("the list is of %s and cannot match another family", word)
	}
	if ip != nil {
		if err := out.readIP(ip, word); err != nil {
			return out, err
		}
	}
	layers := 0
	for _, l := range []struct {
		e     *element
		proto uint8
		read  func(*element) error
	}{
		{tcp, protoTCP, out.readTCP}, {udp, protoUDP, out.readPorts}, {icmp, icmpOf(family), out.readICMP},
	} {
		if l.e == nil {
			continue
		}
		if layers++; layers > 1 {
			return out, fmt.Errorf("it matches two protocols at once")
		}
		if out.Proto != nil && *out.Proto != l.proto {
			return out, fmt.Errorf("it matches protocol %d and %q at once", *out.Proto, l.e.name)
		}
		out.Proto = &l.proto
		if err := l.read(l.e); err != nil {
			return out, err
		}
	}
	return out, nil
}

// icmpOf is a family's ICMP: the model has one container for both.
func icmpOf(family uint16) uint8 {
	if family == IPv6 {
		return protoICMPv6
	}
	return protoICMP
}

func (e *Entry) readIP(at *element, word string) error {
	var proto, src, dst *element
	err := at.read(map[string]field{
		"protocol": one(&proto), "source-" + word + "-network": one(&src), "destination-" + word + "-network": one(&dst),
	})
	if err != nil {
		return err
	}
	if proto != nil {
		n, err := number(proto, 8)
		if err != nil {
			return err
		}
		e.Proto = new(uint8(n))
	}
	for _, p := range []struct {
		from *element
		to   *netip.Prefix
	}{{src, &e.Src}, {dst, &e.Dst}} {
		if p.from == nil {
			continue
		}
		text, err := p.from.leaf()
		if err != nil {
			return err
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil || prefix.Addr().Is4() != (e.Ethertype == IPv4) {
			return fmt.Errorf("%q is %q, which is no prefix of %s", p.from.name, text, word)
		}
		*p.to = prefix.Masked()
	}
	return nil
}

// readPorts reads the ports of TCP or UDP.
func (e *Entry) readPorts(at *element) error {
	var src, dst *element
	if err := at.read(map[string]field{"source-port": one(&src), "destination-port": one(&dst)}); err != nil {
		return err
	}
	return e.takePorts(src, dst)
}

func (e *Entry) takePorts(src, dst *element) (err error) {
	if src != nil {
		if e.SrcPorts, err = readRange(src); err != nil {
			return err
		}
	}
	if dst != nil {
		e.DstPorts, err = readRange(dst)
	}
	return err
}

func (e *Entry) readTCP(at *element) error {
	var src, dst, flags *element
	if err := at.read(map[string]field{"source-port": one(&src), "destination-port": one(&dst), "flags": one(&flags)}); err != nil {
		return err
	}
	if err := e.takePorts(src, dst); err != nil || flags == nil {
		return err
	}
	text, err := flags.leaf()
	if err != nil {
		return err
	}
	bits := map[string]uint8{"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ece": 64, "cwr": 128}
	for _, word := range strings.Fields(text) {
		bit, known := bits[word]
		if !known || e.Flags&bit != 0 {
			return fmt.Errorf("%q are no control bits, each named once", text)
		}
		e.Flags |= bit
	}
	if e.Flags == 0 { // none of them set, or no matter which: the model does not say
		return fmt.Errorf("the control bits name none")
	}
	return nil
}

func (e *Entry) readICMP(at *element) error {
	var kind, code *element
	if err := at.read(map[string]field{"type": one(&kind), "code": one(&code)}); err != nil {
		return err
	}
	for _, f := range []struct {
		from *element
		to   **uint8
	}{{kind, &e.Type}, {code, &e.Code}} {
		if f.from == nil {
			continue
		}
		n, err := number(f.from, 8)
		if err != nil {
			return err
		}
		*f.to = new(uint8(n))
	}
	if e.Code != nil && e.Type == nil {
		return fmt.Errorf("an ICMP code needs a type")
	}
	return nil
}

// readRange reads the ports of one direction: a range, or an operator and a port.
func readRange(e *element) ([]Ports, error) {
	var low, high, operator, port *element
	if err := e.read(map[string]field{"lower-port": one(&low), "upper-port": one(&high), "operator": one(&operator), "port": one(&port)}); err != nil {
		return nil, err
	}
	bad := fmt.Errorf("%q needs lower-port and upper-port, or a port with an operator", e.name)
	if (low == nil) != (high == nil) || (low == nil) == (port == nil) || operator != nil && port == nil {
		return nil, bad
	}
	if low != nil {
		from, err := number(low, 16)
		if err != nil {
			return nil, err
		}
		to, err := number(high, 16)
		if err != nil {
			return nil, err
		}
		if from > to {
			return nil, fmt.Errorf("%q goes from %d down to %d", e.name, from, to)
		}
		return []Ports{{uint16(from), uint16(to)}}, nil
	}
	n, err := number(port, 16)
	if err != nil {
		return nil, err
	}
	at, word := uint16(n), "eq"
	if operator != nil {
		if word, err = operator.leaf(); err != nil {
			return nil, err
		}
	}
	switch word {
	case "eq":
		return []Ports{{at, at}}, nil
	case "lte":
		return []Ports{{0, at}}, nil
	case "gte":
		return []Ports{{at, 65535}}, nil
	case "neq":
		var out []Ports
		if at > 0 {
			out = append(out, Ports{0, at - 1})
		}
		if at < 65535 {
			out = append(out, Ports{at + 1, 65535})
		}
		return out, nil
	}
	return nil, fmt.Errorf("the operator %q is none of eq, neq, lte and gte", word)
}

// number reads an unsigned number of so many bits.
func number(e *element, bits int) (uint64, error) {
	text, err := e.leaf()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, bits)
	if err != nil {
		return 0, fmt.Errorf("%q is %q, which is no number of %d bits", e.name, text, bits)
	}
	return n, nil
}
