package decode

// comps is a set of components of a view's vectors: a row of bits for each interface
// class, with a bit for each class of source ports. Where rulesets look at source
// ports there are thousands of components, and a look at the diagram for each of them
// would be as many looks at all of it.
type comps []uint64

func (v *view) rowWords() int { return (v.nPorts + 63) / 64 }

// allComps is the set of all components. There is one of it, so that it is known by
// where it is.
func (v *view) allComps() comps {
	if v.every == nil {
		v.every = v.noComps()
		for k := range len(v.ifs) * v.nPorts {
			v.addComp(v.every, k)
		}
	}
	return v.every
}

func (v *view) noComps() comps { return make(comps, len(v.ifs)*v.rowWords()) }

func (v *view) addComp(c comps, component int) {
	k, port := component/v.nPorts, component%v.nPorts
	c[k*v.rowWords()+port>>6] |= 1 << (port & 63)
}

// without is what is not in another set; rest is not set if that is nothing.
func (c comps) without(o comps) (out comps, rest bool) {
	for i, w := range c {
		if i < len(o) {
			w &^= o[i]
		}
		if w != 0 && out == nil {
			out = make(comps, len(c))
		}
		if out != nil {
			out[i] = w
		}
	}
	return out, out != nil
}

func (c comps) union(o comps) comps {
	if o == nil {
		return c
	}
	out := make(comps, len(c))
	for i := range c {
		out[i] = c[i] | o[i]
	}
	return out
}

// componentResult is one result of a vector and the components that have it.
type componentResult struct {
	res int32
	at  comps
}

// componentsOf groups the first n components of a vector by result, in order of the
// first component.
func (v *view) componentsOf(vec int32, n int) []componentResult {
	if vec >= 0 {
		if n == len(v.ifs)*v.nPorts {
			return []componentResult{{vec, v.allComps()}}
		}
		some := v.noComps()
		for k := range n {
			v.addComp(some, k)
		}
		return []componentResult{{vec, some}}
	}
	var out []componentResult
	index := map[int32]int{}
	for k := range n {
		res := v.m.results.pick(vec, k)
		i, ok := index[res]
		if !ok {
			i = len(out)
			index[res] = i
			out = append(out, componentResult{res, v.noComps()})
		}
		v.addComp(out[i].at, k)
	}
	return out
}

// tour calls visit for the result of every leaf behind a node that some components
// of the view's vectors lead to; leaves that were seen before, in any walk of the
// machine, are left out.
func (v *view) tour(n int32, at comps, visit func(res int32)) {
	nd := &v.m.nodes[n]
	if nd.kind == nodeLeaf {
		if v.m.toured.add(n) {
			visit(nd.res)
		}
		return
	}
	switch {
	case !v.innerIface && !v.innerPort:
		// All components fare alike behind the node, and it is seen once for good.
		if !v.m.toured.add(n) {
			return
		}
	case v.touredAll.has(n):
		return
	case &at[0] == &v.allComps()[0]:
		v.touredAll.add(n)
	default:
		seen := v.toured[n]
		rest, ok := at.without(seen)
		if !ok {
			return
		}
		if v.toured == nil {
			v.toured = map[int32]comps{}
		}
		v.toured[n] = at.union(seen)
		at = rest
	}
	switch {
	case nd.kind == nodeSplit && nd.ask.axis == axisIface:
		w := v.rowWords()
		for k, in := range v.ifs {
			one := v.noComps()
			copy(one[k*w:(k+1)*w], at[k*w:(k+1)*w])
			if one, ok := one.without(nil); ok {
				v.tour(v.m.kid(n, in), one, visit)
			}
		}
	case nd.kind == nodeSplit && nd.ask.axis == axisPort:
		// Answers of different questions that no port gives together are no way through.
		for val, ports := range v.portsBy(nd.ask.con) {
			if some, ok := v.ofPorts(at, ports); ok {
				v.tour(v.m.kid(n, int32(val)), some, visit)
			}
		}
	default:
		v.m.each(n, func(kid int32) bool {
			v.tour(kid, at, visit)
			return true
		})
	}
}

// portsBy gives the classes of source ports for each value of a construct, as one
// row of bits.
func (v *view) portsBy(con int32) []comps {
	if s, ok := v.portSets[con]; ok {
		return s
	}
	out := make([]comps, v.m.cons[con].n)
	for port, val := range v.portVal[con] {
		if out[val] == nil {
			out[val] = make(comps, v.rowWords())
		}
		out[val][port>>6] |= 1 << (port & 63)
	}
	if v.portSets == nil {
		v.portSets = map[int32][]comps{}
	}
	v.portSets[con] = out
	return out
}

// ofPorts keeps the components of some classes of source ports.
func (v *view) ofPorts(at, ports comps) (out comps, some bool) {
	if ports == nil {
		return nil, false
	}
	for i, w := range at {
		w &= ports[i%len(ports)]
		if w != 0 && out == nil {
			out = make(comps, len(at))
		}
		if out != nil {
			out[i] = w
		}
	}
	return out, out != nil
}
