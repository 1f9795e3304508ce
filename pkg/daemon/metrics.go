package daemon

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"bulkhead/inventory"
	"bulkhead/pkg/controller"
	"bulkhead/pkg/plan"
)

// metrics are the daemon's own registry: nobody else's default names are in it. They
// are listed in docs/daemon.md; a test holds the two against each other.
type metrics struct {
	registry *prometheus.Registry
	passes   *prometheus.CounterVec
	applies  *prometheus.CounterVec
	drift    *prometheus.CounterVec
	moves    prometheus.Counter
	seconds  prometheus.Histogram
	siteGood prometheus.Gauge
	lastGood prometheus.Gauge
}

func newMetrics(d *Daemon) *metrics {
	m := &metrics{registry: prometheus.NewRegistry(),
		passes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "bulkhead_passes_total",
			Help: "Passes by result: in sync, applied, held, refused, failed, partial, drift, on trial, quiet (nothing had to be read)."}, []string{"result"}),
		applies: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "bulkhead_applies_total",
			Help: "Applies by how they ended."}, []string{"state"}),
		drift: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "bulkhead_drift_total",
			Help: "Times that a device was found to differ from what was last confirmed on it."}, []string{"device"}),
		moves: prometheus.NewCounter(prometheus.CounterOpts{Name: "bulkhead_moves_total",
			Help: "Assets that were moved on devices ahead of a plan."}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "bulkhead_pass_seconds",
			Help: "How long passes took that had to look at a device.", Buckets: prometheus.ExponentialBuckets(0.005, 2, 14)}),
		siteGood: prometheus.NewGauge(prometheus.GaugeOpts{Name: "bulkhead_site_good",
			Help: "1 if the site directory is in use as it is, 0 if the last good one is."}),
		lastGood: prometheus.NewGauge(prometheus.GaugeOpts{Name: "bulkhead_last_in_sync_timestamp_seconds",
			Help: "When every device was last known to be what it has to be."}),
	}
	m.siteGood.Set(1)
	m.registry.MustRegister(m.passes, m.applies, m.drift, m.moves, m.seconds, m.siteGood, m.lastGood, &current{d},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// quiet counts a pass that had nothing to plan; good says that no device is in trouble.
func (m *metrics) quiet(good bool) {
	m.passes.WithLabelValues("quiet").Inc()
	if good {
		m.lastGood.SetToCurrentTime()
	}
}

func (m *metrics) pass(p *controller.Pass, err error, took time.Duration) {
	result := "failed"
	if err == nil && p != nil {
		result = string(p.Result)
	}
	m.passes.WithLabelValues(result).Inc()
	m.seconds.Observe(took.Seconds())
	if p == nil {
		return
	}
	for _, d := range p.Drift {
		m.drift.WithLabelValues(d).Inc()
	}
	if p.Apply != nil {
		m.applies.WithLabelValues(string(p.Apply.Apply.State)).Inc()
	}
	if p.Result == controller.InSync {
		m.lastGood.SetToCurrentTime()
	}
}

// current collects what is worked out when somebody asks.
type current struct{ d *Daemon }

var (
	descAssets   = prometheus.NewDesc("bulkhead_assets", "Assets of the inventory.", nil, nil)
	descClasses  = prometheus.NewDesc("bulkhead_classes", "Classes of addresses that policy tells apart.", nil, nil)
	descPoint    = prometheus.NewDesc("bulkhead_point_in_sync", "1 if the point was proved to enforce what policy says when it was last looked at.", []string{"point"}, nil)
	descSource   = prometheus.NewDesc("bulkhead_source_current", "1 if what the source, or a part of one (SOURCE/ACCOUNT/REGION), reports counts; 0 if it is frozen, stale or missing.", []string{"source"}, nil)
	descTrouble  = prometheus.NewDesc("bulkhead_devices_in_trouble", "Devices that are not what they have to be.", nil, nil)
	descWritable = prometheus.NewDesc("bulkhead_state_writable", "1 if the state can be written to; 0 on a full disk, for example: then nothing new is applied.", nil, nil)
	descBrakes   = prometheus.NewDesc("bulkhead_brakes", "Brakes that hold the plan.", nil, nil)
	descCut      = prometheus.NewDesc("bulkhead_quarantined", "Assets in quarantine.", nil, nil)
	descTracked  = prometheus.NewDesc("bulkhead_conntrack_entries", "Tracked flows of this network namespace.", nil, nil)
	descTrackMx  = prometheus.NewDesc("bulkhead_conntrack_limit", "How many flows can be tracked: above it new flows are dropped.", nil, nil)
	descInvalid  = prometheus.NewDesc("bulkhead_conntrack_invalid_total", "Packets that fit no tracked flow, as the kernel counts them (net.netfilter, all processors).", nil, nil)
	descState    = prometheus.NewDesc("bulkhead_state_bytes", "Size of the state file.", nil, nil)
	descHistory  = prometheus.NewDesc("bulkhead_history_applies", "Applies that the history keeps.", nil, nil)
	descAudit    = prometheus.NewDesc("bulkhead_audit_entries", "Entries of the audit log.", nil, nil)
	descNoRoom   = prometheus.NewDesc("bulkhead_conntrack_dropped_total", "Flows that found no room in the table.", nil, nil)
)

func (c *current) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descAssets, descClasses, descSource, descPoint, descTrouble, descWritable, descBrakes, descCut, descTracked, descTrackMx, descInvalid, descNoRoom, descState, descHistory, descAudit} {
		ch <- d
	}
}

func (c *current) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	v := c.d.View()
	size := c.d.o.Store.Size()
	gauge(descState, float64(size.Bytes))
	gauge(descHistory, float64(size.Applies))
	gauge(descAudit, float64(size.Entries))
	gauge(descTrouble, float64(len(v.Trouble)))
	writable := 1.0
	if v.State != "" {
		writable = 0
	}
	gauge(descWritable, writable)
	if v.Site != nil {
		gauge(descAssets, float64(len(v.Site.Inventory.Assets)))
		gauge(descClasses, float64(len(v.Site.Matrix.Classes)))
		gauge(descCut, float64(len(v.Site.Quarantined)))
		for i := range v.Site.Sources {
			good := 0.0
			if s := v.Site.Sources[i].State; s == inventory.SourceCurrent || s == inventory.SourceAccepted {
				good = 1
			}
			gauge(descSource, good, v.Site.Sources[i].Source)
		}
	}
	if v.Pass != nil {
		gauge(descBrakes, float64(len(v.Pass.Plan.Brakes)))
		for _, pt := range v.Pass.Plan.Points {
			good := 0.0
			if v.Trouble[pt.Device] == "" && (pt.Status == plan.InSync && pt.Before != nil && pt.Before.Proved || v.Pass.Result == controller.Applied) {
				good = 1
			}
			gauge(descPoint, good, pt.Name)
		}
	}
	if t, ok := readConntrack(); ok {
		gauge(descTracked, t.entries)
		gauge(descTrackMx, t.limit)
		ch <- prometheus.MustNewConstMetric(descInvalid, prometheus.CounterValue, t.invalid)
		ch <- prometheus.MustNewConstMetric(descNoRoom, prometheus.CounterValue, t.dropped)
	}
}
