/* Prometheus' text format, as its documentation has it. */
#include <criterion/criterion.h>
#include <math.h>

#include "server/metrics/prometheus.h"

static struct buf text;
static struct prometheus p;

static void setup(void)
{
    buf_init(&text);
    p = (struct prometheus){.to = &text};
}

static void teardown(void)
{
    buf_deinit(&text);
}

TestSuite(prometheus, .init = setup, .fini = teardown);

static void expect(const char *expected)
{
    buf_append(&text, "", 1);
    cr_assert_str_eq(text.data, expected);
}

Test(prometheus, a_metric_has_its_help_its_type_and_its_samples)
{
    prometheus_begin(&p, "lasca_keys", "gauge", "Keys there are.");
    prometheus_put_labelled(&p, "shard", "0", 12);
    prometheus_put_labelled(&p, "shard", "1", 0.5);
    prometheus_begin(&p, "lasca_calls_total", "counter", "Calls.");
    prometheus_put(&p, 7);
    expect("# HELP lasca_keys Keys there are.\n# TYPE lasca_keys gauge\n"
           "lasca_keys{shard=\"0\"} 12\nlasca_keys{shard=\"1\"} 0.5\n"
           "# HELP lasca_calls_total Calls.\n# TYPE lasca_calls_total counter\n"
           "lasca_calls_total 7\n");
}

Test(prometheus, whole_numbers_stay_whole_and_odd_ones_have_names)
{
    p.name = "x";
    prometheus_put(&p, 9007199254740991.0);
    prometheus_put(&p, 1795469750);
    prometheus_put(&p, -3);
    prometheus_put(&p, 1795469750.25);
    prometheus_put(&p, 1e300);
    prometheus_put(&p, INFINITY);
    prometheus_put(&p, -INFINITY);
    prometheus_put(&p, NAN);
    expect("x 9007199254740991\nx 1795469750\nx -3\nx 1795469750.25\nx 1e+300\nx +Inf\nx -Inf\n"
           "x NaN\n");
}

Test(prometheus, values_of_labels_are_escaped)
{
    p.name = "x";
    prometheus_put_labelled(&p, "a", "quote \" slash \\ line\nend", 1);
    expect("x{a=\"quote \\\" slash \\\\ line\\nend\"} 1\n");
}

Test(prometheus, what_is_no_utf8_is_replaced_byte_by_byte)
{
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"caf\xc3\xa9", "caf\xc3\xa9"},
        {"\xe2\x82\xac \xf0\x9f\x98\x80", "\xe2\x82\xac \xf0\x9f\x98\x80"},
        {"\xff", "\xef\xbf\xbd"},
        {"a\xc3", "a\xef\xbf\xbd"},
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xe0\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        text.size = 0;
        prometheus_append_escaped(&text, cases[i].text);
        expect(cases[i].expected);
    }
}

Test(prometheus, buckets_of_a_histogram_add_up)
{
    static const double bounds[] = {0.000001, 0.0000025, 1};
    static const uint64_t counts[] = {3, 0, 4, 1};
    prometheus_begin(&p, "x_seconds", "histogram", "Times.");
    text.size = 0;
    prometheus_put_histogram(&p, "command", "get", bounds, counts, 3, 2.5);
    expect("x_seconds_bucket{command=\"get\",le=\"1e-06\"} 3\n"
           "x_seconds_bucket{command=\"get\",le=\"2.5e-06\"} 3\n"
           "x_seconds_bucket{command=\"get\",le=\"1\"} 7\n"
           "x_seconds_bucket{command=\"get\",le=\"+Inf\"} 8\n"
           "x_seconds_sum{command=\"get\"} 2.5\n"
           "x_seconds_count{command=\"get\"} 8\n");
}
