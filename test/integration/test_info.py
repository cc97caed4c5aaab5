"""INFO: every field that Redis 7.2 has, in its form, and figures that follow what happens."""

import re
import time

from harness import SHARDS, encode
from test_info_config import figures, info, wait_for

# Section by section, in Redis 7.2's words. What is there only at times (loading_*, slave0) is not.
FIELDS = {
    "server": """redis_version redis_git_sha1 redis_git_dirty redis_build_id redis_mode os arch_bits
        monotonic_clock multiplexing_api atomicvar_api gcc_version process_id process_supervised
        run_id tcp_port server_time_usec uptime_in_seconds uptime_in_days hz configured_hz lru_clock
        executable config_file io_threads_active listener0""",
    "clients": """connected_clients cluster_connections maxclients client_recent_max_input_buffer
        client_recent_max_output_buffer blocked_clients tracking_clients clients_in_timeout_table
        total_blocking_keys total_blocking_keys_on_nokey""",
    "memory": """used_memory used_memory_human used_memory_rss used_memory_rss_human
        used_memory_peak used_memory_peak_human used_memory_peak_perc used_memory_overhead
        used_memory_startup used_memory_dataset used_memory_dataset_perc allocator_allocated
        allocator_active allocator_resident total_system_memory total_system_memory_human
        used_memory_lua used_memory_vm_eval used_memory_lua_human used_memory_scripts_eval
        number_of_cached_scripts number_of_functions number_of_libraries used_memory_vm_functions
        used_memory_vm_total used_memory_vm_total_human used_memory_functions used_memory_scripts
        used_memory_scripts_human maxmemory maxmemory_human maxmemory_policy allocator_frag_ratio
        allocator_frag_bytes allocator_rss_ratio allocator_rss_bytes rss_overhead_ratio
        rss_overhead_bytes mem_fragmentation_ratio mem_fragmentation_bytes mem_not_counted_for_evict
        mem_replication_backlog mem_total_replication_buffers mem_clients_slaves mem_clients_normal
        mem_cluster_links mem_aof_buffer mem_allocator active_defrag_running
        lazyfree_pending_objects lazyfreed_objects""",
    "persistence": """loading async_loading current_cow_peak current_cow_size current_cow_size_age
        current_fork_perc current_save_keys_processed current_save_keys_total
        rdb_changes_since_last_save rdb_bgsave_in_progress rdb_last_save_time rdb_last_bgsave_status
        rdb_last_bgsave_time_sec rdb_current_bgsave_time_sec rdb_saves rdb_last_cow_size
        rdb_last_load_keys_expired rdb_last_load_keys_loaded aof_enabled aof_rewrite_in_progress
        aof_rewrite_scheduled aof_last_rewrite_time_sec aof_current_rewrite_time_sec
        aof_last_bgrewrite_status aof_rewrites aof_rewrites_consecutive_failures
        aof_last_write_status aof_last_cow_size module_fork_in_progress
        module_fork_last_cow_size""",
    "stats": """total_connections_received total_commands_processed instantaneous_ops_per_sec
        total_net_input_bytes total_net_output_bytes total_net_repl_input_bytes
        total_net_repl_output_bytes instantaneous_input_kbps instantaneous_output_kbps
        instantaneous_input_repl_kbps instantaneous_output_repl_kbps rejected_connections sync_full
        sync_partial_ok sync_partial_err expired_keys expired_stale_perc
        expired_time_cap_reached_count expire_cycle_cpu_milliseconds evicted_keys evicted_clients
        total_eviction_exceeded_time current_eviction_exceeded_time keyspace_hits keyspace_misses
        pubsub_channels pubsub_patterns pubsubshard_channels latest_fork_usec total_forks
        migrate_cached_sockets slave_expires_tracked_keys active_defrag_hits active_defrag_misses
        active_defrag_key_hits active_defrag_key_misses total_active_defrag_time
        current_active_defrag_time tracking_total_keys tracking_total_items tracking_total_prefixes
        unexpected_error_replies total_error_replies dump_payload_sanitizations
        total_reads_processed total_writes_processed io_threaded_reads_processed
        io_threaded_writes_processed reply_buffer_shrinks reply_buffer_expands eventloop_cycles
        eventloop_duration_sum eventloop_duration_cmd_sum instantaneous_eventloop_cycles_per_sec
        instantaneous_eventloop_duration_usec acl_access_denied_auth acl_access_denied_cmd
        acl_access_denied_key acl_access_denied_channel""",
    "replication": """role connected_slaves master_failover_state master_replid master_replid2
        master_repl_offset second_repl_offset repl_backlog_active repl_backlog_size
        repl_backlog_first_byte_offset repl_backlog_histlen""",
    "cpu": """used_cpu_sys used_cpu_user used_cpu_sys_children used_cpu_user_children
        used_cpu_sys_main_thread used_cpu_user_main_thread""",
    "cluster": "cluster_enabled",
}

# What clients parse as something else than a whole number.
FORMS = {
    r"\d+\.\d\d%": "used_memory_peak_perc used_memory_dataset_perc",
    r"-?\d+\.\d\d": """allocator_frag_ratio allocator_rss_ratio rss_overhead_ratio
        mem_fragmentation_ratio current_fork_perc expired_stale_perc instantaneous_input_kbps
        instantaneous_output_kbps instantaneous_input_repl_kbps instantaneous_output_repl_kbps""",
    r"\d+\.\d{6}": FIELDS["cpu"],
    r"\d+(\.\d\d)?[BKMGT]": """used_memory_human used_memory_rss_human used_memory_peak_human
        total_system_memory_human used_memory_lua_human used_memory_vm_total_human
        used_memory_scripts_human maxmemory_human""",
    r"(ok|err)": "rdb_last_bgsave_status aof_last_bgrewrite_status aof_last_write_status",
    r"[0-9a-f]{1,16}": "redis_build_id",
    r"[0-9a-f]{40}": "run_id master_replid master_replid2",
    r"(mimalloc-\d+\.\d+\.\d+|libc)": "mem_allocator",
    r"name=tcp(,bind=[^,]+)+,port=\d+": "listener0",
}


def test_all_fields_of_redis_are_there(raw):
    for section, names in FIELDS.items():
        missing = set(names.split()) - set(info(raw, section))
        assert not missing, f"INFO {section} lacks {missing}"


def test_fields_have_the_forms_that_clients_parse(raw):
    x = info(raw, "all")
    for form, names in FORMS.items():
        for name in names.split():
            assert re.fullmatch(form, x[name]), f"{name}:{x[name]}"
    whole = {n for names in FIELDS.values() for n in names.split()}
    whole -= {n for names in FORMS.values() for n in names.split()}
    text = set("""redis_version redis_git_sha1 redis_mode os monotonic_clock multiplexing_api
        atomicvar_api gcc_version process_supervised executable config_file maxmemory_policy role
        master_failover_state""".split())
    for name in whole - text:
        assert re.fullmatch(r"-?\d+", x[name]), f"{name}:{x[name]}"


def test_redis_py_makes_numbers_of_them(server):
    x = server.client().info("all")
    assert x["used_memory"] > 0 and isinstance(x["mem_fragmentation_ratio"], float)
    assert x["listener0"]["name"] == "tcp" and x["listener0"]["port"] == server.port
    assert isinstance(x["used_cpu_sys_main_thread"], float)


def test_several_sections_come_each_once(raw):
    text = raw.call("INFO", "cpu", "CPU", "keyspace", "nosuch", "memory").decode()
    assert re.findall(r"^# (\w+)\r$", text, re.M) == ["Memory", "CPU", "Keyspace"]


def test_the_loops_are_counted(raw):
    before = info(raw, "stats")
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        raw.send(encode("SET", "a", "x" * 100) * 100)
        for _ in range(100):
            raw.read_reply()
    after = info(raw, "stats")
    grown = {n: int(after[n]) - int(before[n]) for n in before
             if n.startswith("eventloop") or n.endswith("processed")}
    assert grown["eventloop_cycles"] > 10
    assert 0 < grown["eventloop_duration_cmd_sum"] < 2e6 * SHARDS
    assert 0 < grown["eventloop_duration_sum"] < 2e6 * SHARDS
    assert grown["total_reads_processed"] > 10 and grown["total_writes_processed"] > 10
    assert grown["total_commands_processed"] > grown["total_reads_processed"]
    assert int(after["instantaneous_eventloop_cycles_per_sec"]) > 0


def test_the_debug_section_comes_where_it_is_named(raw):
    assert b"# Debug" not in raw.call("INFO", "everything")
    before = info(raw, "debug")
    raw.send(encode("SET", "a", "x") * 50)
    for _ in range(50):
        raw.read_reply()
    time.sleep(0.25)
    after = info(raw, "debug")
    assert list(before) == ["eventloop_duration_aof_sum", "eventloop_duration_cron_sum",
                            "eventloop_duration_max", "eventloop_cmd_per_cycle_max"]
    assert int(after["eventloop_duration_cron_sum"]) > int(before["eventloop_duration_cron_sum"])
    assert int(after["eventloop_duration_max"]) > 0
    assert int(after["eventloop_cmd_per_cycle_max"]) > 1


def test_cpu_time_is_that_of_all_threads(raw):
    x = info(raw, "cpu")
    for kind in ("sys", "user"):
        assert float(x[f"used_cpu_{kind}"]) == float(x[f"used_cpu_{kind}_main_thread"])


def test_a_large_reply_outgrows_its_buffer(raw):
    raw.call("CONFIG", "RESETSTAT")
    raw.call("SET", "a", "x" * 200000)
    raw.call("GET", "a")
    raw.call("PING")
    x = info(raw, "stats")
    assert int(x["reply_buffer_expands"]) >= 1
    assert x["reply_buffer_expands"] == x["reply_buffer_shrinks"]


def test_the_sweep_is_measured(raw):
    raw.call("CONFIG", "RESETSTAT")
    raw.call("DEBUG", "SET-ACTIVE-EXPIRE", 0)
    for i in range(0, 2000, 100):
        raw.send(b"".join(encode("SET", f"k{k}", "v", "PX", 1) for k in range(i, i + 100)))
        for _ in range(100):
            raw.read_reply()
    for i in range(1000):
        raw.send(encode("SET", f"long{i}", "v", "EX", 1000))
    for i in range(1000):
        raw.read_reply()
    time.sleep(0.005)
    raw.call("DEBUG", "SET-ACTIVE-EXPIRE", 1)
    wait_for(lambda: info(raw, "stats")["expired_keys"] == "2000")
    assert 0 < float(info(raw, "stats")["expired_stale_perc"]) < 100
    raw.call("CONFIG", "RESETSTAT")
    assert info(raw, "stats")["expired_stale_perc"] == "0.00"


def test_payloads_that_were_checked_are_counted(raw):
    raw.call("CONFIG", "RESETSTAT")
    raw.call("RPUSH", "a", 1, 2, 3)
    payload = raw.call("DUMP", "a")
    raw.call("RESTORE", "b", 0, payload)
    raw.call("RESTORE", "c", 0, b"rubbish")
    assert info(raw, "stats")["dump_payload_sanitizations"] == "2"


def test_memory_adds_up(raw):
    raw.call("DEBUG", "POPULATE", 20000, "key", 100)
    x = {n: v for n, v in info(raw, "memory").items()}
    n = {name: int(value) for name, value in x.items() if re.fullmatch(r"-?\d+", value)}
    assert n["used_memory_dataset"] + n["used_memory_overhead"] == n["used_memory"]
    assert 0 < n["used_memory_startup"] < n["used_memory_overhead"]
    assert n["allocator_allocated"] == n["used_memory"] <= n["allocator_active"]
    assert n["allocator_resident"] <= n["used_memory_rss"]
    assert n["allocator_active"] - n["allocator_allocated"] == n["allocator_frag_bytes"]
    assert abs(float(x["mem_fragmentation_ratio"]) -
               n["used_memory_rss"] / n["used_memory"]) < 0.01
    assert n["used_memory_rss"] - n["used_memory"] == n["mem_fragmentation_bytes"]
    dataset = 100 * n["used_memory_dataset"] / (n["used_memory"] - n["used_memory_startup"])
    assert abs(float(x["used_memory_dataset_perc"][:-1]) - dataset) < 0.1


def test_shards_add_up(raw):
    raw.call("CONFIG", "RESETSTAT")
    raw.call("DEBUG", "POPULATE", 1000)
    for i in range(100):
        raw.call("GET", f"key:{i}")
        raw.call("GET", f"nosuch:{i}")
    lines = [figures(line) for line in info(raw, "shards").values()]
    assert sum(x["hits"] for x in lines) == 100
    assert sum(x["misses"] for x in lines) == 100
    assert sum(x["hops_received"] for x in lines) <= sum(x["hops_sent"] for x in lines)
    assert sum(x["memory"] for x in lines) >= 1000 * 24
    for x in lines:
        assert x["cpu_seconds"] >= 0 and x["busy_perc"] >= 0
        assert x["order_depth"] == 0
