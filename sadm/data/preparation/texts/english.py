"""In English; `japanese.py` has the same keys, but for the forms with ``_one``."""

from __future__ import annotations

ENGLISH = {
    "comma": ", ",
    "name": "‘{name}’",
    "and_more": " and {count} more",
    # ---- the verdict
    "verdict_usable": "The images are ready for training.",
    "verdict_look": "The images can be trained on; look at the points below first.",
    "verdict_unusable": "The images cannot be trained on yet.",
    "counts": "{images} images found: {usable} usable, {duplicate} exact duplicates left out, {quarantined} in "
    "quarantine.",
    "split_made": "Of the usable images, {train} are for training and {held_out} are held out for judging; the "
    "choice was made "
    "here, at random by class, with what belongs together kept on one side.",
    "split_kept": "Of the usable images, {train} are for training and {held_out} are held out for judging, as the "
    "source says.",
    "untouched": "Nothing was deleted, moved or changed: the prepared folder only lists images.",
    # ---- points, most serious first
    "point_no_split": "{usable} usable images cannot be divided into images to train on and images to judge with: "
    "that takes at "
    "least 2 of each, and what belongs together stays together. Add images.",
    "point_no_split_of_classes": "{usable} usable images in {classes} classes cannot be divided into images to train on and "
    "images to judge with: that takes at least 2 of each, every class needs one to train on, and what belongs together stays "
    "together. Add images, or put rare classes together.",
    "point_lost_classes": "No usable image is left of {names}. Mend its images or add others; the class is left "
    "out until then.",
    "point_wrong_label": "{count} images carry a label that an identical image contradicts. They are left out "
    "until one of the "
    "two is moved to the right class or removed.",
    "point_leakage": "The source has the same thing on both sides of its split in {count} cases, so that a model "
    "judged on the "
    "held-out images would look better than it is. In the prepared list, {moved} held-out images are moved to "
    "training.",
    "point_leakage_one": "The source has the same thing on both sides of its split in one case, so that a model "
    "judged on the "
    "held-out images would look better than it is. In the prepared list, {moved} held-out images are moved to "
    "training.",
    "point_unreadable": "{count} files cannot be read as images. Copy them again from where they came from, or "
    "remove them.",
    "point_unreadable_one": "One file cannot be read as an image. Copy it again from where it came from, or remove it.",
    "point_out_of_reach": "{count} files could not be read this time: they are missing, forbidden, or were being written to. "
    "Mend that, then run the same command again.",
    "point_out_of_reach_one": "One file could not be read this time: it is missing, forbidden, or was being written to. Mend "
    "that, then run the same command again.",
    "point_too_large": "{count} images have more pixels than is allowed. If they are real scans, raise --max-megapixels.",
    "point_too_large_one": "One image has more pixels than is allowed. If it is a real scan, raise --max-megapixels.",
    "point_blank": "{count} images show nothing: all pixels are alike.",
    "point_blank_one": "One image shows nothing: all pixels are alike.",
    "point_too_dark": "{count} images of 16-bit grey have no value above {peak}, so they are read as nearly black. If their "
    "sensor has fewer bits, prepare them again with --white-level {better}.",
    "point_too_dark_one": "One image of 16-bit grey has no value above {peak}, so it is read as nearly black. If its sensor has "
    "fewer bits, prepare it again with --white-level {better}.",
    "point_too_small": "{count} images are smaller than {side} pixels and would have to be enlarged.",
    "point_too_small_one": "One image is smaller than {side} pixels and would have to be enlarged.",
    "point_not_listed": "{count} entries of the source could not be used; quarantine.csv says why.",
    "point_not_listed_one": "One entry of the source could not be used; quarantine.csv says why.",
    "point_near_other_label": "{count} pairs look alike but carry different labels. Look whether one of the "
    "labels is wrong.",
    "point_near_other_label_one": "One pair looks alike but carries different labels. Look whether one of them is "
    "wrong.",
    "point_few_of_class": "Fewer than 10 usable images of {names}: too few to learn or to judge such a class well.",
    "point_not_held_out": "No image of {names} is held out: nothing can be measured on it.",
    "point_unbalanced": "The most frequent class has {ratio} times as many images as the rarest. --data.balance shows rare "
    "classes more often in training.",
    "point_other_pictures": "{count} files ({kinds}) are pictures of a kind that is not read. Save them as PNG, JPEG or TIFF if "
    "they belong to the set.",
    "point_other_pictures_one": "One file ({kinds}) is a picture of a kind that is not read. Save it as PNG, JPEG or TIFF if it "
    "belongs to the set.",
    "point_few_images": "Only {count} images to train on: expect a model that copies more than it invents.",
    "point_duplicates": "{count} files repeat another file’s pixels exactly. One of each is kept.",
    "point_duplicates_one": "One file repeats another file’s pixels exactly. One of the two is kept.",
    "point_near": "{images} images in {count} groups look like copies of each other (resized, compressed anew, brightened, "
    "turned, mirrored or cropped). They are kept, all of a group on one side of the split.",
    "point_near_one": "{images} images look like copies of each other (resized, compressed anew, brightened, turned, mirrored "
    "or cropped). They are kept, all on one side of the split.",
    # ---- the sheet
    "title": "Contact sheet: {source}",
    "subtitle": "What is in the folder, what is wrong with it, and what to do next",
    "heading_verdict": "Verdict",
    "heading_next": "Next command",
    "heading_key": "Key figures",
    "heading_classes": "Classes",
    "heading_images": "Images",
    "heading_quarantine": "Quarantine",
    "heading_source": "How the source was read",
    "source_notes": "What it was taken to mean",
    "source_others": "Files that are not read as images",
    "source_skipped": "Entries that could not be used",
    "heading_exact": "Exact duplicates",
    "heading_near": "Near duplicates",
    "heading_leakage": "Both sides of the split",
    "heading_sizes": "Sizes",
    "heading_advice": "Suggested settings, and why",
    "card_found": "Images found",
    "card_usable": "Usable",
    "card_usable_detail": "{share} % of what was found",
    "card_duplicate": "Exact duplicates left out",
    "card_quarantined": "In quarantine",
    "card_near": "Images that look like copies",
    "card_near_detail": "in {clusters} groups",
    "card_split": "Training / held out",
    "classes_intro": "Bars: usable images of each class, and left-out ones in grey. Beside them, images chosen at "
    "random.",
    "classes_cut": "{shown} of {count} classes are shown: those with the fewest and those with the most images.",
    "images_intro": "Usable images, chosen at random.",
    "quarantine_intro": "These are left out of training. The files themselves are where they were. quarantine.csv "
    "lists them all.",
    "more_shown": "{shown} of {count} are shown.",
    "exact_intro": "Files with the same pixels, whatever their names and formats. The first is kept, the others "
    "are left out.",
    "near_intro": "Images that differ by less than one twelfth of what distinguishes others around them. Judge by eye: "
    "where there are no classes, photographs of different parts of a rare kind can be among them. near_duplicates.csv lists "
    "all pairs.",
    "near_marked": "In an orange frame: images with different labels.",
    "leakage_intro": "The source puts these on both sides of its split. A model that has seen one side knows the "
    "other.",
    "kept": "kept",
    "left_out": "left out",
    "column_kind": "What they share",
    "column_train": "For training",
    "column_held_out": "Held out",
    "column_class": "Class",
    "column_count": "Usable",
    "column_smallest": "Smallest",
    "column_median": "Median",
    "column_largest": "Largest",
    "row_width": "Width, pixels",
    "row_height": "Height, pixels",
    "row_aspect": "Width / height",
    "sizes_bars": "Images by their smaller side, in pixels",
    "leak_group": "the same group",
    "leak_exact": "the same pixels",
    "leak_side": "{names}",
    "leak_near": "near duplicates",
    "advice_resolution": "Resolution",
    "advice_own_size": "the images’ own size",
    "advice_pixels": "{side} × {side} pixels",
    "advice_fit": "How images become squares",
    "advice_channels": "Channels",
    "advice_augment": "Augmentation",
    "advice_balance": "Balance of classes",
    "advice_recipe": "Recipe",
    "advice_batch": "Images a step",
    "advice_steps": "Steps",
    "limits": "Not judged here: focus, exposure, framing, and whether a label is right where no identical image "
    "contradicts it.",
    # ---- why
    "why_own_size": "The recipe takes the images as they are.",
    "why_resolution_asked": "As asked for. The images would allow {allowed} pixels without being enlarged.",
    "why_resolution_too_large": "As asked for, but larger than many of the images, which would allow {allowed} pixels.",
    "why_resolution_of_recipe": "What the recipe is made for. The images would allow {allowed} pixels without "
    "being enlarged; "
    "training time grows with the number of pixels.",
    "why_resolution_allowed": "The largest usual side that enlarges hardly any image.",
    "why_kept": "At {resolution} pixels, {kept} % of the images’ contrast remains; the rest is finer detail and "
    "is lost.",
    "why_tiles": "Scans of {side} pixels lose most of their detail at {resolution}: tiles keep it. Small defects "
    "survive in tiles "
    "alone.",
    "why_pad": "The central square would cut away {lost} % of a typical image; padding keeps it whole.",
    "why_crop": "The central square; little is cut away.",
    "why_batch_usual": "The recipe’s own.",
    "why_batch_smaller": "The recipe’s own is {usual}; a batch should be no more than half of the {images} "
    "training images, since "
    "training relates different images to each other.",
    "why_passes": "The recipe’s own; each of the {images} training images is seen about {passes} times.",
    "why_grey": "All images are grey: one channel says all that three equal ones say.",
    "why_balance": "The most frequent class has {ratio} times as many training images as the rarest; this shows rare classes "
    "more often, as docs/loading.md says, without showing some images all the time.",
    "why_augment": "A model that sees so few images so often can learn them by heart. Augmentation delays that without "
    "showing in the samples: ‘photos’ here, ‘parts’ where left and right, up and down mean nothing, as in parts seen from above. "
    "No measurement here says how many steps are too many: look at the samples, and train for fewer (--optimiser.steps) where "
    "they repeat training images.",
    # ---- reasons of quarantine
    "reason_missing": "The file is not there",
    "reason_forbidden": "No permission to read the file",
    "reason_special_file": "Not a regular file",
    "reason_empty": "Empty file",
    "reason_changing": "Was written to during the scan",
    "reason_truncated": "The file ends too early",
    "reason_not_an_image": "Not an image, or of a kind that cannot be read",
    "reason_damaged": "Damaged file",
    "reason_too_large": "More pixels than the limit",
    "reason_odd_channels": "Pixel values that cannot be interpreted",
    "reason_bad_mask": "The mask does not fit",
    "reason_blank": "Shows nothing",
    "reason_wrong_label": "Contradictory labels",
    "reason_too_small": "Too small",
    "fix_missing": "Check links and the network drive, then run the same command again.",
    "fix_forbidden": "Ask for permission to read it, then run the same command again.",
    "fix_special_file": "Remove it from the folder.",
    "fix_empty": "Copy it again from its origin; the transfer was probably interrupted.",
    "fix_changing": "Run the same command again when nothing writes to the folder.",
    "fix_truncated": "Copy it again from its origin; the transfer was probably interrupted.",
    "fix_not_an_image": "Save it as PNG, JPEG, WebP, BMP or TIFF, or remove it.",
    "fix_damaged": "Copy it again from its origin, or open and save it in an image editor.",
    "fix_too_large": "Scale it down, or, if it is a real scan, raise --max-megapixels.",
    "fix_odd_channels": "Save it with 8 or 16 bits per channel, as grey, RGB or RGBA.",
    "fix_bad_mask": "Save a mask of the image’s size, white where something is marked.",
    "fix_blank": "Take the photograph again, or remove the file.",
    "fix_wrong_label": "Decide which label is right, and remove or move the other file.",
    "fix_too_small": "Find the original in full size, or ask for a lower --resolution.",
    # ---- how near duplicates were changed
    "turn_mirrored": "mirrored",
    "turn_upside_down": "upside down",
    "turn_turned_180": "turned by 180°",
    "turn_transposed": "mirrored and turned",
    "turn_turned_90": "turned by 90°",
    "turn_turned_270": "turned by 90°",
    "turn_transverse": "mirrored and turned",
    "cropped": "cropped",
    # ---- peculiarities
    "peculiar_grey": "Grey: {count}; the others are in colour.",
    "peculiar_cmyk": "In CMYK, for printing: {count}. Without a profile their colours are approximate.",
    "peculiar_alpha": "With transparency, which is put on white: {count}.",
    "peculiar_wide": "With 16 bits per channel, which become 8: {count}.",
    "peculiar_turned": "Turned as their EXIF data say: {count}.",
    "peculiar_profile": "With a colour profile other than sRGB, which is converted: {count}.",
    "peculiar_frames": "In files with several frames or pages: {count}.",
    "peculiar_dark": "Very dark: {count}.",
    # ---- the terminal
    "sheet_written": "Contact sheet: {path}",
    "next": "Next: {command}",
    "reasons_line": "In quarantine: {reasons}.",
    "reason_count": "{reason} ({count})",
}
