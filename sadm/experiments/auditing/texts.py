"""What people read of an audit, by language: one table each, with the same keys."""

from __future__ import annotations

from sadm.core.languages import in_language

ENGLISH = {
    "title": "Memorisation audit",
    "subtitle": "{images} images from {source}, against {train} training images",
    "heading_verdict": "Verdict",
    "verdict_copies": "The model copies: {copies} of {images} generated images ({rate}; 95 % interval {low} to {high}) are near "
    "copies of training images.",
    "verdict_closer": "Generated images lie closer to the training images than fresh real ones do: closer in {closer} of pairs, "
    "where {half} would be even (p {p}); near copies: {copies} of {images}.",
    "verdict_look": "{copies} of {images} generated images look like training images. Among as many fresh real images that many "
    "could by chance alone: look at them.",
    "verdict_clear": "No sign of copying: none of {images} generated images is a near copy (95 % interval up to {high}), and "
    "they are no closer to the training images than fresh real ones (p {p}).",
    "note_limit": "A copy is an image less than {score} times as far from a training image as from the nearest of {reference} "
    "reference images, in register. By {units} independent fresh images, at most {alarms} of real images would be called copies.",
    "note_few": "{units} independent fresh images cannot vouch for one per cent of false alarms. Hold out more images for a "
    "sharper answer.",
    "note_leaked": "{leaked} held-out images look like copies of training images. They are no fresh images, so copies can be "
    "missed: bring the folder through `sadm prepare`, which keeps duplicates on one side, and train anew.",
    "note_features": "Whole images are compared. Nothing here clears a model of having learned rare details, parts of images, or "
    "styles by heart.",
    "card_copies": "Near copies",
    "card_copies_detail": "{rate}; 95 % interval {low} to {high}",
    "card_originals": "Training images that were copied",
    "card_originals_detail": "of {train}",
    "card_closer": "Closer to training than a fresh image",
    "card_closer_detail": "95 % interval {low} to {high}; {half} = as fresh images",
    "card_p": "p-value",
    "card_p_detail": "of no closer than fresh images; below {level} counts",
    "card_duplicates": "Duplicates among {images}",
    "card_duplicates_detail": "generated; {real} among as many training images",
    "heading_key": "Key figures",
    "heading_gallery": "Most like a training image",
    "gallery_intro": "In each: generated image, nearest training image, and their difference after turning, shifting and "
    "re-colouring (grey = none). The score is the distance to that training image by the distance to the nearest held-out one. "
    "The "
    "lowest scores of {images} images, one for each of {shown} training images; frames mark near copies.",
    "column_generated": "generated",
    "column_training": "nearest training image",
    "column_difference": "difference",
    "score": "score {score}",
    "near_copy": "near copy",
    "alt_generated": "Generated image {image}",
    "alt_training": "Training image {name}",
    "alt_difference": "Difference of the two, where they overlap",
    "heading_spaces": "Space by space",
    "spaces_intro": "In each space: how often a generated image is closer to training, by its distance to held-out images, than "
    "a fresh real image of its class. Feature spaces are fitted on held-out images to which no distance in them is taken.",
    "column_space": "Space",
    "column_closer": "Closer",
    "column_interval": "95 % interval",
    "column_p": "p-value",
    "together": "all together",
    "heading_classes": "Class by class",
    "column_class": "Class",
    "column_images": "Generated",
    "column_copies": "Near copies",
    "heading_settings": "Settings",
    "setting_held_out": "Held-out images (independent): to fit spaces, as reference, as fresh images",
    "setting_threshold": "Copy threshold",
    "setting_seed": "Seed",
    "setting_commit": "Commit",
    "orientation_same": "",
    "orientation_mirrored": "mirrored",
    "orientation_upside_down": "upside down",
    "orientation_turned_180": "turned by 180°",
    "orientation_transposed": "mirrored and turned",
    "orientation_turned_90": "turned by 90°",
    "orientation_turned_270": "turned by 90°",
    "orientation_transverse": "mirrored and turned",
    "shifted": "shifted by {down}, {right}",
    "written": "Written: {path}",
    "comma": ", ",
}

JAPANESE = {
    "title": "記憶（丸写し）の監査",
    "subtitle": "{source} の画像 {images} 枚と学習画像 {train} 枚の比較",
    "heading_verdict": "結論",
    "verdict_copies": "モデルは学習画像を写しています：生成画像 {images} 枚のうち {copies} 枚（{rate}、95 % 区間 {low}〜{high}）"
    "が学習画像とほぼ同じです。",
    "verdict_closer": "生成画像は、未使用の実画像よりも学習画像に近づいています：比較した組の {closer} で近く（{half} なら同等、"
    "p {p}）、ほぼ同じ画像は {images} 枚中 {copies} 枚です。",
    "verdict_look": "生成画像 {images} 枚のうち {copies} 枚が学習画像に似ています。未使用の実画像でも偶然同じ枚数になり得るため、"
    "目で確かめてください。",
    "verdict_clear": "丸写しの兆候はありません：生成画像 {images} 枚に学習画像とほぼ同じものはなく（95 % 区間の上限 {high}）、"
    "未使用の実画像より学習画像に近いとも言えません（p {p}）。",
    "note_limit": "位置合わせ後、最も近い学習画像までの距離が、参照画像 {reference} 枚のうち最も近いものまでの距離の {score} 倍"
    "未満の画像を「ほぼ同じ」とします。互いに独立な未使用画像 {units} 件から、"
    "実画像が誤ってこう判定される割合は {alarms} 以下です。",
    "note_few": "独立な未使用画像が {units} 件では、誤判定 1 % 以下を保証できません。評価用の画像を増やすと判定が鋭くなります。",
    "note_leaked": "評価用の画像のうち {leaked} 枚は学習画像の写しのように見えます。未使用とは言えず、"
    "写しを見逃すおそれがあります。"
    "`sadm prepare` で重複を片側にまとめ、学習し直してください。",
    "note_features": "ここで比べるのは画像全体だけです。珍しい細部、画像の一部、作風を覚えていないことの証明にはなりません。",
    "card_copies": "ほぼ同じ画像",
    "card_copies_detail": "{rate}、95 % 区間 {low}〜{high}",
    "card_originals": "写された学習画像",
    "card_originals_detail": "全 {train} 枚中",
    "card_closer": "未使用画像より学習画像に近い割合",
    "card_closer_detail": "95 % 区間 {low}〜{high}、{half} で未使用画像と同等",
    "card_p": "p 値",
    "card_p_detail": "未使用画像より近くないという仮説。{level} 未満を有意とします",
    "card_duplicates": "{images} 枚の中の重複",
    "card_duplicates_detail": "生成画像。同数の学習画像では {real} 枚",
    "heading_key": "主な数値",
    "heading_gallery": "学習画像に最も似たもの",
    "gallery_intro": "各組は、生成画像、最も近い学習画像、向き・位置・色を合わせた後の差（灰色＝差なし）です。"
    "スコアは、その学習画像までの距離を、最も近い評価用画像までの距離で割った値です。{images} 枚のうち"
    "スコアの低いものを学習画像 {shown} 枚について1枚ずつ示し、枠はほぼ同じ画像です。",
    "column_generated": "生成画像",
    "column_training": "最も近い学習画像",
    "column_difference": "差",
    "score": "スコア {score}",
    "near_copy": "ほぼ同じ",
    "alt_generated": "生成画像 {image}",
    "alt_training": "学習画像 {name}",
    "alt_difference": "両者の重なる部分の差",
    "heading_spaces": "空間ごとの結果",
    "spaces_intro": "各空間で、評価用画像までの距離に対する学習画像までの距離が、同じクラスの未使用の実画像より小さい割合です。"
    "特徴空間は、その中での距離の計算に使わない評価用画像だけで作ります。",
    "column_space": "空間",
    "column_closer": "近い割合",
    "column_interval": "95 % 区間",
    "column_p": "p 値",
    "together": "全空間",
    "heading_classes": "クラスごと",
    "column_class": "クラス",
    "column_images": "生成画像",
    "column_copies": "ほぼ同じ",
    "heading_settings": "設定",
    "setting_held_out": "評価用画像（独立な件数）：空間の作成用、参照用、未使用画像",
    "setting_threshold": "判定のしきい値",
    "setting_seed": "シード",
    "setting_commit": "コミット",
    "orientation_same": "",
    "orientation_mirrored": "左右反転",
    "orientation_upside_down": "上下反転",
    "orientation_turned_180": "180°回転",
    "orientation_transposed": "反転と回転",
    "orientation_turned_90": "90°回転",
    "orientation_turned_270": "90°回転",
    "orientation_transverse": "反転と回転",
    "shifted": "ずれ {down}, {right}",
    "written": "出力：{path}",
    "comma": "、",
}

TEXTS = {"en": ENGLISH, "ja": JAPANESE}


def texts(lang: str) -> dict[str, str]:
    """All texts in a language; see `in_language`."""
    return in_language(TEXTS, lang)
