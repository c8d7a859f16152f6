"""Every rule of the memory, and the tests that fail without it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

RULES = {
    # The key of a call
    "options, names, runner and backend are not in the key": """
        cache: task_options_are_not_in_the_key names_of_task_and_flow_are_not_in_the_key
               every_runner_and_backend_has_the_same_keys""",
    "arguments are hashed at the call, and once more after it": """
        cache: a_task_that_changes_its_argument_in_place_is_not_kept
               a_worker_process_sees_a_change_in_place parts_have_the_key_of_their_content""",
    "a digest is not remembered by identity": """
        digest: a_digest_is_not_remembered_by_identity""",
    "every attempt counts, and one that was given up keeps nothing": """
        cache: retries_count_what_every_attempt_read
               a_task_of_which_an_attempt_timed_out_is_not_kept""",
    "resources count by their code and settings": """
        cache: the_settings_of_a_resource_are_in_the_key
               a_cached_task_with_a_resource_must_say_how_long_it_holds""",
    "overrides and replaced resources neither use nor keep": """
        cache: overrides_and_replaced_resources_neither_use_nor_keep""",
    "what runs only after another task runs when that ran": """
        cache: a_task_runs_after_an_order_only_upstream_that_ran
               a_task_with_a_ttl_does_not_run_because_of_its_order""",
    "equal content leaves what follows cached": """
        cache: a_task_that_runs_again_with_the_same_result_leaves_the_rest_cached""",
    "items go by content": """
        cache: items_are_cached_one_by_one equal_items_without_an_entry_agree""",
    "clock, random and network are warned of": """
        cache_code: the_clock_in_a_cached_task_is_a_warning a_moved_state_of_random_is_a_warning
                    a_network_connection_in_a_cached_task_is_a_warning
                    a_library_that_is_first_loaded_in_a_task_moves_nothing
        fingerprints: clock_random_and_network_are_reported
                      forms_of_random_and_clock_are_reported_loaded_or_not""",
    "a result expires, and one from the future has": """
        cache: a_result_expires a_result_from_the_future_has_expired""",
    "no secret is kept, and none can be guessed": """
        cache: a_secret_is_kept_nowhere_and_its_key_cannot_be_guessed
        reasons: a_secret_is_masked_and_is_nowhere_in_the_store
        digest: with_a_key_no_digest_can_be_guessed secrets_need_the_key_of_the_store
        fingerprints: constants_go_in_with_the_key_of_the_store
                      secrets_in_code_are_not_in_what_is_kept
        store: secret_stands_nowhere_in_the_store secret_of_a_command_line_is_masked""",
    # The fingerprint of code
    "1: one graph, each definition once; files are trusted by their stat once they are old": """
        fingerprints: each_definition_is_read_once_for_all_tasks
                      memory_is_used_only_for_files_that_did_not_change""",
    "2: source counts only where it is the loaded code": """
        fingerprints: code_that_was_edited_after_its_import_counts_as_loaded_and_is_reported
                      lines_and_docstrings_edited_after_the_import_are_no_edit
                      statements_edited_after_the_import_are_reported
                      class_edited_after_the_import_is_reported
                      file_that_is_no_python_any_more_is_reported
                      module_edited_before_its_lazy_import_is_reported
                      module_loaded_again_counts_as_it_is_now""",
    "3: names are followed through the live objects, within the project": """
        fingerprint_edits: edit_that_changes_what_a_task_does_changes_its_fingerprint
        fingerprints: editable_sibling_counts_by_its_code_under_its_own_root
                      two_modules_of_one_name_are_told_apart this_package_never_counts
        cache_code: an_edit_runs_what_depends_on_it_and_nothing_else""",
    "4: the rest counts by distribution or content, reached by names and types": """
        fingerprints: package_counts_by_version_and_content package_counts_however_it_is_reached
                      what_a_package_requires_counts types_bring_their_packages_and_classes
                      module_of_no_distribution_counts_by_its_files
                      extension_of_the_project_counts_by_its_content
        cache_code: a_package_that_a_result_is_made_of_counts""",
    "5: comments, docstrings and places do not count; where the code is does, if it reads it": """
        fingerprint_edits: edit_that_changes_nothing_leaves_the_fingerprint
        fingerprints: two_folders_with_one_text_differ_where_the_code_reads_its_place
                      future_flags_of_a_module_count copy_of_a_project_has_the_same_fingerprint
        cache_code: two_desks_with_one_text_read_their_own_files""",
    "6: constants count by content, at the call and after it; so do names bound anew": """
        fingerprints: constant_that_can_change_counts_at_the_call
                      what_was_bound_anew_counts_at_the_call
                      helper_bound_anew_in_another_module_counts_at_the_call
                      statement_that_binds_what_has_no_content_counts
                      what_has_no_content_never_stops_a_fingerprint
        cache_code: a_name_bound_anew_at_run_time_is_what_counts
                    a_task_that_binds_a_name_anew_is_not_kept
        cache: a_task_that_leaves_something_behind_in_its_process_is_not_kept""",
    "7: statements without a name count for all of the closure": """
        fingerprints: statements_of_the_flows_module_count_for_every_task
                      attribute_of_an_installed_module_set_elsewhere_counts
                      accessor_of_a_module_that_is_not_imported_counts_by_the_class_it_is_in
                      what_an_installed_decorator_wraps_counts
        cache_code: a_statement_of_the_module_of_the_flow_counts_for_tasks_of_other_modules""",
    "8: what nobody can know is dynamic": """
        fingerprints: code_that_nobody_can_know_is_dynamic helpers_are_dynamic_for_the_task
                      what_only_looks_like_it_is_not_dynamic variables_of_the_environment_are_named
        cache_code: code_that_is_decided_at_run_time_is_not_kept_without_a_version
                    a_variable_of_the_environment_is_in_the_key""",
    "9: code without source counts by its instructions": """
        fingerprints: code_in_no_file_counts_by_its_instructions""",
    "10: each item is kept, and the difference is named": """
        fingerprints: items_say_what_counts_and_where_it_is
                      differences_name_what_changed_what_is_new_and_what_is_gone
        reasons: code_is_said_by_what_changed_its_place_and_the_run
                 a_parameter_is_said_with_both_values an_input_is_said_by_its_name
                 a_package_is_said_with_both_versions an_upstream_is_said_by_its_name
                 expired_forced_not_selected_and_never_run_are_said
                 code_that_cannot_be_known_is_said""",
    # What a task read and wrote
    "what was opened is part of the hit": """
        observing: reads_are_kept_as_they_are_looked_up_again
                   a_new_file_in_a_folder_that_was_listed_is_seen
                   whatever_a_pattern_may_find_later_is_seen a_database_is_read_with_its_log
                   links_are_kept_as_they_were_opened_and_followed_at_the_check
                   a_relative_path_is_looked_up_from_the_new_folder
        cache: a_file_that_was_read_is_part_of_the_hit
        cache_code: files_of_the_system_count_and_are_not_asked_for""",
    "what Python, packages, devices and the store are is left out": """
        observing: code_and_devices_and_the_store_do_not_count
                   what_an_attempt_wrote_itself_is_no_input a_data_file_of_a_package_is_read""",
    "a copy of the project has its own files": """
        observing: a_copy_of_the_project_has_its_own_files
        cache: a_project_that_moves_keeps_its_results""",
    "threads without a task, cached functions and imports count for those who use them": """
        observing: a_thread_of_no_task_counts_for_every_task_at_work
                   a_read_inside_a_cached_function_counts_for_later_attempts
                   what_a_module_reads_at_import_counts_for_those_who_reach_it
        cache_code: a_read_kept_by_a_function_counts_for_the_tasks_that_reach_it
                    a_run_inside_a_cached_task_counts_with_what_it_read""",
    "what changes while it is read is not credited to the result": """
        observing: a_file_that_changes_after_it_was_read_is_torn
                   a_change_that_no_stat_shows_is_seen_where_the_clock_is_coarse
                   a_stat_is_trusted_only_of_a_file_at_rest
        cache: an_input_that_changes_while_a_task_runs_is_not_credited_to_it
               declared_inputs_are_in_the_key""",
    "public readers of libraries are watched": """
        observing: files_that_compiled_code_opens_are_seen_where_a_public_reader_is_called
                   readers_that_are_imported_in_the_task_or_by_name_are_watched""",
    "a file that was written must be there, unchanged": """
        observing: what_was_written_must_be_there
        cache: a_file_that_a_task_writes_must_be_there_and_unchanged""",
    "a strict cache keeps only what names its files": """
        cache: a_strict_cache_keeps_only_what_names_its_files""",
    # Hashing values
    "types, order and content count; nothing else does": """
        digest: no_two_contents_or_types_have_one_digest equal_content_is_an_equal_digest
                every_nan_is_the_same the_order_of_a_set_does_not_count
                a_change_anywhere_is_another_digest another_process_makes_the_same_digests
                a_digest_names_its_algorithm""",
    "what has no content is refused with the way to it": """
        digest: what_has_no_content_is_refused_with_the_way_to_it
                iterators_open_files_and_the_like_are_refused
        cache: an_argument_without_content_makes_no_key a_lossy_pickle_is_not_kept""",
    # The store
    "where it is, and whose": """
        store: store_is_beside_the_nearest_project_of_the_flows_file
               store_without_a_project_is_beside_the_file store_is_never_in_the_home_folder_itself
               store_is_for_its_owner_alone_and_kept_out_of_git planted_value_is_never_loaded
               nothing_is_loaded_where_others_can_write nothing_is_loaded_from_another_users_store
        cache: nothing_is_taken_from_a_store_that_others_can_write_to""",
    "one that is locked, full, damaged, older or newer": """
        store: locked_database_is_waited_for_once_and_written_in_the_end full_disk
               damaged_database database_that_is_damaged_in_the_middle store_of_a_newer_version
               store_of_an_older_version_is_brought_up_to_date
        cache: a_store_that_cannot_be_used_is_said_once_and_the_run_goes_on
               a_store_that_breaks_during_a_run_is_said_once_and_the_run_goes_on
               an_older_store_is_migrated""",
    "a damaged or lost value is computed again, in the same run": """
        cache: a_damaged_value_is_computed_again a_damaged_value_in_a_row_is_computed_again
               a_value_that_was_exchanged_in_a_row_is_computed_again
        lost_values: a_kept_result_that_is_lost_before_its_use_is_made_again
                     an_item_that_is_lost_before_its_use_is_made_again
                     what_all_items_share_is_made_again_once
                     a_result_that_is_taken_over_and_lost_is_made_again
                     where_it_fails_when_it_is_made_again_both_faults_are_said""",
    "a cached task is shown without loading it": """
        cache: a_cached_upstream_is_loaded_only_when_a_task_that_runs_needs_it
               cached_items_are_not_loaded""",
    "processes at once, and the end of one": """
        store: processes_that_run_and_prune_at_once_lose_no_run
               processes_that_run_resume_and_prune_at_once_lose_no_run
               process_killed_at_any_moment_leaves_a_sound_store
               run_whose_process_was_killed_is_crashed state_of_a_run_whose_end_nobody_recorded
        cache: two_runs_that_compute_one_key_agree""",
    "pruning keeps what is needed": """
        cache: pruning_keeps_what_an_entry_needs_and_drops_entries_without_a_value
        runs_command: pruning_keeps_what_is_young_pinned_or_among_the_newest""",
    # Resume
    "finished tasks that would return the same are reused, item by item": """
        resume: what_is_finished_is_taken_over_and_the_rest_runs items_are_taken_over_one_by_one
                after_a_fix_what_the_fix_reaches_runs_again
                a_file_that_changed_makes_its_reader_run_again on_every_runner_and_backend
                a_resumed_run_that_fails_is_resumed_with_all_that_went_before
        cache_law: a_resume_after_a_failure_anywhere_gives_what_a_run_gives""",
    "what is never reused": """
        resume: what_is_never_taken_over followers_of_what_runs_again_run_again
                an_allowed_failure_is_tried_again_after_a_run_that_succeeded""",
    "parameters are those of the run, and secrets are asked for again": """
        resume: parameters_are_those_of_the_run_defaults_included
                a_secret_that_was_typed_is_asked_for_again another_parameter_and_from
                a_run_that_is_no_more_what_it_was_is_refused""",
    "it is said without a run": """
        resume: plan_shows_what_a_resume_would_do
                a_failed_run_ends_with_the_command_that_goes_on""",
    "how large a kept result may be": """
        resume: how_large_a_kept_result_may_be_is_a_setting""",
    "a task is finished when its row is committed": """
        resume: killed_at_any_moment_nothing_that_was_committed_runs_again
                a_task_is_recorded_as_finished_before_what_follows_it_starts""",
    # The law
    "a run with the cache gives what a run without it gives": """
        cache_law: a_run_with_the_cache_gives_what_a_run_without_it_gives""",
}


@pytest.mark.parametrize("rule", RULES)
def test_the_tests_of_a_rule_are_there(rule: str) -> None:
    file = ""
    for word in RULES[rule].split():
        if word.endswith(":"):
            file = (Path(__file__).parent / f"test_{word[:-1]}.py").read_text("utf-8")
        else:
            assert re.search(rf"def test_{word}\(", file), (rule, word)
